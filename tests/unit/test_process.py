"""What belongs to a process: no child waits for a lock of its parent's, or uses what its parent opened."""

from __future__ import annotations

import ast
import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import envelope_codec
from envelope_codec._loops import kept_awake, running_loop
from envelope_codec._process import PerProcess, living, renew_after_fork
from envelope_codec.errors import StoreUnavailable
from envelope_codec.keys.key_sets import KeySets
from envelope_codec.storage.s3 import S3Store
from envelope_codec.testing import FakeKms
from tests.support.calls_in_turn import in_turn
from tests.support.forked_child import Child, in_child

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ROOT = Path(envelope_codec.__file__).parent.parent
WAIT = 60.0


class Guarded:
    _lock: threading.Lock

    def __init__(self) -> None:
        renew_after_fork(self, _lock=threading.Lock)


# --- locks and values


def test_a_lock_that_a_thread_holds_at_the_fork_is_free_in_the_child() -> None:
    guarded = Guarded()
    with guarded._lock:
        assert in_child(lambda: guarded._lock.acquire(timeout=1))
        assert guarded._lock.locked()


def test_the_thread_that_forks_may_hold_the_lock_and_releases_the_one_it_took() -> None:
    guarded = Guarded()

    def child() -> bool:
        return guarded._lock.acquire(blocking=False)

    with guarded._lock:
        forked = Child(child)
    assert forked.result()
    assert not guarded._lock.locked()


@pytest.mark.slow
def test_what_has_gone_is_not_renewed_and_not_remembered() -> None:
    guarded = Guarded()
    gone = weakref.ref(guarded)
    assert guarded in living(Guarded)
    del guarded
    gc.collect()
    assert gone() is None
    assert living(Guarded) == []


def test_each_process_makes_its_own_value_once_and_may_take_over_from_its_parent() -> None:
    made: list[object] = []

    def make(parents: list[int] | None) -> list[int]:
        made.append(parents)
        return [os.getpid(), *(parents or ())]

    value = PerProcess(make)
    with ThreadPoolExecutor(8) as pool:
        assert {id(found) for found in pool.map(lambda _: value.get(), range(64))} == {id(value.get())}
    assert made == [None]
    mine = value.get()
    its, again = in_child(lambda: (value.get(), value.get()))
    assert its == again
    assert its[1:] == mine
    assert its[0] != mine[0]
    assert value.get() is mine


@pytest.mark.slow
def test_what_the_parent_opened_is_never_freed_in_the_child() -> None:
    ended: list[int] = []

    class Connection:
        def __del__(self) -> None:
            ended.append(os.getpid())

    value = PerProcess(lambda _: Connection())
    value.get()

    def child() -> list[int]:
        nonlocal value
        del value
        gc.collect()
        return ended

    assert in_child(child) == []


def test_a_lock_that_is_held_at_the_fork_does_not_keep_the_child_from_its_value() -> None:
    begun, go_on = threading.Event(), threading.Event()
    parent = os.getpid()

    def make(_: object) -> int:
        if os.getpid() == parent:
            begun.set()
            go_on.wait(WAIT)
        return os.getpid()

    value = PerProcess(make)
    thread = threading.Thread(target=value.get)
    thread.start()
    assert begun.wait(WAIT)
    assert in_child(value.get) != parent
    go_on.set()
    thread.join(WAIT)
    assert value.get() == parent


GARBAGE = """
import gc, os, sys
from envelope_codec._process import in_child

done = []

class Parents:
    def __del__(self):
        done.append("freed")

class Owner:
    pass

def let_go(owner):
    owner.many = [[] for _ in range(10_000)]  # enough for the collector to begin
    done.append("let go")

owner = Owner()
in_child(owner, let_go)
garbage = Parents()
garbage.itself = garbage
del garbage
child = os.fork()
if child == 0:
    went_on = gc.isenabled()
    gc.collect()
    os._exit(0 if went_on and done == ["let go", "freed"] else 1)
assert gc.isenabled()
gc.disable()
other = os.fork()
if other == 0:
    os._exit(gc.isenabled())
assert not gc.isenabled()
print(os.waitpid(child, 0)[1], os.waitpid(other, 0)[1])
"""


def test_a_child_collects_no_garbage_of_its_parents_before_every_owner_has_let_go() -> None:
    done = subprocess.run([sys.executable, "-c", GARBAGE], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "0 0\n", done.stdout + done.stderr


# --- every lock there is

LOCKS = {
    f"threading.{name}" for name in ("Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier")
}


@pytest.mark.slow
def test_every_lock_is_made_where_a_child_renews_it() -> None:
    """A lock is only ever named as an argument of `renew_after_fork`, and as a type.

    But for the suites and listeners that are shipped for tests, which run in no forked process.
    """
    found = []
    shipped = [*ROOT.glob("envelope_codec/testing/conformance/*.py"), ROOT / "envelope_codec/testing/listeners.py"]
    for path in {*ROOT.glob("envelope_codec/**/*.py"), *ROOT.glob("providers/**/*.py")}.difference(shipped):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in LOCKS:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node.func)}")
            if isinstance(node, ast.ImportFrom) and node.module in ("threading", "queue", "multiprocessing"):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} from {node.module} import …")
            if isinstance(node, ast.keyword) and node.arg == "default_factory" and "threading." in ast.unparse(node):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}")
    assert found == []


EVERYTHING = """
import asyncio, gc, os, signal, sys, threading
from envelope_codec import EnvelopeConfig, EnvelopeCodec, SealingContext
from envelope_codec.cli.demo.counts import Counts
from envelope_codec.cli.keys.master_keys import MasterKeys
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.stop import Stop
from envelope_codec.kms import master_key
from envelope_codec.keys.key_sets import KeySets
from envelope_codec.server.audit import Audit
from envelope_codec.storage.pool import Pool
from envelope_codec.storage.s3 import S3Store
from envelope_codec.store import parse_store_url
from envelope_codec.testing import FakeKms, ManualClock
from temporalio.api.common.v1 import Payload

folder = sys.argv[1]
os.environ.update(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b", VAULT_TOKEN="t")
tenant = FakeKms("fakekms://tenant")
config = EnvelopeConfig(key=FakeKms(), decrypt_keys=[tenant], resolver=lambda context: tenant)
keys = config.keyring()
pool, stop, counts, masters = Pool(parse_store_url(f"file://{folder}")), Stop(), Counts(), MasterKeys()
audit, clock = Audit(f"{folder}/audit"), ManualClock()
providers = [
    master_key("awskms:///arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab?endpoint=http://127.0.0.1:1"),
    master_key("gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k?endpoint=127.0.0.1:1&insecure=true"),
    master_key("hashivault://key?address=http://127.0.0.1:1"),
    master_key("azurekv://example.vault.azure.net/key?sign_key=signer&endpoint=https://127.0.0.1:1"),
]
id = os.urandom(16).hex()

async def use():
    codec = EnvelopeCodec(config, keyring=keys)
    sealed = await codec.encode([Payload(data=b"x")])
    assert (await codec.decode(sealed))[0].data == b"x"
    await pool.open_here().store.put(id, b"kept")
    assert await pool.open_here().store.get(id) == b"kept"
    keys.find_scope(SealingContext("default", "a"))

def ask_providers():
    for master in providers:
        try:
            master.wrap(b"s" * 32, {"temporal-namespace": "default"})
        except Exception as error:
            assert type(error).__name__ == "KmsUnavailable", error

KINDS = (type(threading.Lock()), type(threading.RLock()))

def locks():
    gc.collect()
    ours = ("envelope_codec",)
    for owner in gc.get_objects():
        if str(type(owner).__module__).startswith(ours):
            for name in [*getattr(owner, "__dict__", ()), *getattr(type(owner), "__slots__", ())]:
                if isinstance(value := getattr(owner, name, None), KINDS):
                    yield f"{type(owner).__module__}.{type(owner).__qualname__}.{name}", value
    for module in [module for name, module in sys.modules.items() if name.startswith(ours)]:
        for name, value in vars(module).items():
            if isinstance(value, KINDS):
                yield f"{module.__name__}.{name}", value

flight = Flight(lambda: None, 0.0)
loop = asyncio.new_event_loop()
loop.run_until_complete(use())
ask_providers()
held, release = threading.Event(), threading.Event()
names = []

def hold():
    for name, lock in locks():
        if lock.acquire(timeout=5):
            names.append((name, lock))
    held.set()
    release.wait(60)
    for _, lock in names:
        lock.release()

holder = threading.Thread(target=hold)
holder.start()
held.wait(60)
child = os.fork()
if child == 0:
    signal.alarm(30)
    loop.run_until_complete(use())  # on the loop that it inherited
    asyncio.run(use())
    ask_providers()
    flight.finish(None)
    stop.set()
    counts.copy()
    masters.close()
    audit.write({"status": 200})
    clock.call_later(1, print)
    clock.advance(2)
    still = [name for name, lock in locks() if lock in [held for _, held in names]]
    assert not still, still
    keys.close()
    pool.close()
    os._exit(0)
status = os.waitpid(child, 0)[1]
release.set()
holder.join(60)
loop.run_until_complete(use())
ask_providers()
print(status, *sorted({name for name, _ in names}))
for master in providers:
    master.close()
"""


@pytest.mark.slow
def test_a_child_goes_on_though_every_lock_is_held_at_the_fork(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EVERYTHING, str(tmp_path)],
        env={name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    status, *names = done.stdout.splitlines()[-1].split()
    assert status == "0", done.stderr
    for kind in (
        "calls.KmsCalls",
        "key_sets.KeySets",
        "stop.Stop",
        "pool._LoopStores",
        "clock.SystemClock",
        "provider._client.ProcessClient",
    ):
        assert any(kind in name for name in names), f"{kind} was not tried: {names}"
    assert {name.partition(".")[0] for name in names} >= {
        "envelope_codec",
        "envelope_codec_vault",
    }


# --- master keys that a resolver names


def test_a_fork_while_another_thread_builds_a_master_key_does_not_stop_the_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    parent = os.getpid()

    def build(uri: str) -> FakeKms:
        if os.getpid() == parent:
            begun.set()
            go_on.wait(WAIT)
        return FakeKms(uri)

    monkeypatch.setattr("envelope_codec.keys.key_sets.master_key", build)
    config = envelope_codec.EnvelopeConfig(key=FakeKms(), resolver=lambda context: f"fakekms://{context.workflow_id}")
    sets = KeySets(config)
    context = envelope_codec.SealingContext

    def resolve_another() -> str:
        keys = sets.resolve(context("default", "b"))
        assert keys is not None
        return keys.sealing[0].key_id

    building = threading.Thread(target=lambda: sets.resolve(context("default", "a")))
    building.start()
    assert begun.wait(WAIT)
    assert in_child(resolve_another) == "fakekms://b"
    go_on.set()
    building.join(WAIT)


def test_a_slow_build_holds_up_no_other_tenant_and_is_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    closed: list[str] = []

    class Closing(FakeKms):
        def close(self) -> None:
            closed.append(self.key_id)

    def build(uri: str) -> FakeKms:
        if uri.endswith("slow") and not begun.is_set():
            begun.set()
            go_on.wait(WAIT)
        return Closing(uri)

    monkeypatch.setattr("envelope_codec.keys.key_sets.master_key", build)
    sets = KeySets(
        envelope_codec.EnvelopeConfig(key=FakeKms(), resolver=lambda context: f"fakekms://{context.workflow_id}")
    )
    results: list[object] = []
    slow = envelope_codec.SealingContext("default", "slow")
    building = threading.Thread(target=lambda: results.append(sets.resolve(slow)))
    building.start()
    assert begun.wait(WAIT)
    assert sets.resolve(envelope_codec.SealingContext("default", "quick")) is not None
    second = sets.resolve(slow)
    go_on.set()
    building.join(WAIT)
    assert results == [second]
    assert results[0] is second
    assert closed == ["fakekms://slow"], "the master key that came too late"


# --- event loops


def threaded(loop: asyncio.AbstractEventLoop) -> int:
    """Runs work in threads, one after the other, and is woken by each."""

    async def use() -> int:
        done = 0
        for _ in range(200):
            with kept_awake():
                done += await running_loop().run_in_executor(None, lambda: 1)
        return done

    return loop.run_until_complete(use())


@pytest.mark.slow
def test_children_on_a_loop_that_they_inherited_are_woken_and_have_threads() -> None:
    loop = asyncio.new_event_loop()
    assert threaded(loop) == 200
    children = [Child(lambda: threaded(loop)) for _ in range(4)]
    assert threaded(loop) == 200
    assert [child.result() for child in children] == [200] * 4
    assert threaded(loop) == 200
    loop.close()


def test_a_child_does_not_serve_what_its_parent_has_registered_as_ours_and_goes_on_with_the_rest() -> None:
    from envelope_codec._loops import ours

    loop = asyncio.new_event_loop()
    mine, theirs = os.pipe(), os.pipe()
    seen: list[int] = []

    async def register() -> None:
        running_loop()
        token = ours.set(True)
        loop.add_reader(mine[0], lambda: seen.append(1))
        ours.reset(token)
        loop.add_reader(theirs[0], in_turn(lambda: seen.append(2), lambda: loop.remove_reader(theirs[0])))

    async def look() -> list[int]:
        running_loop()
        while 2 not in seen:  # noqa: ASYNC110 - a reader is no event
            await asyncio.sleep(0.01)
        return seen

    loop.run_until_complete(register())
    os.write(mine[1], b"x")
    os.write(theirs[1], b"x")
    assert in_child(lambda: loop.run_until_complete(look())) == [2]
    assert 1 in loop.run_until_complete(look())
    loop.remove_reader(mine[0])
    loop.close()
    for end in (*mine, *theirs):
        os.close(end)


# --- the S3 store


@pytest.mark.slow
def test_no_lock_of_botocores_or_urllib3s_keeps_a_child_from_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    store = S3Store("s3://bucket?region=us-east-1&endpoint=http://127.0.0.1:1&addressing=path")

    def told() -> str:
        with pytest.raises(StoreUnavailable) as caught:
            asyncio.run(store.get("a" * 32))
        return str(caught.value)

    assert told() == "the bucket did not answer"
    held, done = threading.Event(), threading.Event()
    lock = store._s3._client._endpoint.http_session._manager.pools.lock  # type: ignore[attr-defined]

    def hold() -> None:
        with lock:
            held.set()
            done.wait(WAIT)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(WAIT)
    try:
        assert in_child(told) == "the bucket did not answer"
    finally:
        done.set()
        holder.join()
    asyncio.run(store.close())
