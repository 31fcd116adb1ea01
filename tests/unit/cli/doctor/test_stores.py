"""Datastores, as the doctor examines them."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pytest

from envelope_codec import EnvelopeConfig, PayloadMissing, StoreRefused, StoreUnavailable
from envelope_codec.cli import main
from envelope_codec.cli.configuration import Configuration
from envelope_codec.cli.doctor.diagnosis import Diagnosis, Request, diagnose
from envelope_codec.cli.doctor.finding import Code, Finding, Level
from envelope_codec.cli.doctor.report import diagnosis_document
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.errors import ConfigurationError, EnvelopeError
from envelope_codec.storage.sql import SqlStore
from envelope_codec.store import Stored
from envelope_codec.testing import FakeKms
from tests.support.missing_package import WITHOUT

SECONDS = 60.0
"""How long anything may take that must end. Reached only where it does not."""


PERMISSION = "permission on the directory, or on a file in it, is missing"


READ_ONLY = "the file system is read-only"


GONE = "the directory does not exist, or is none"


def requested(**settings: Any) -> Request:
    config = EnvelopeConfig(key=FakeKms("fakekms://k"), **settings)
    return Request(Configuration(config, "a test"), ("default",), True, None)


async def examine(**settings: Any) -> Diagnosis:
    calls = Calls()
    with quiet_logs() as words:
        diagnosis = await diagnose(requested(**settings), Deadline(SECONDS), calls, words)
    assert not calls.hang
    return diagnosis


def problems(diagnosis: Diagnosis) -> list[tuple[Code, str]]:
    return [(finding.code, finding.subject) for finding in diagnosis.findings if finding.level is Level.problem]


def found(diagnosis: Diagnosis, code: Code) -> Finding:
    (finding,) = [finding for finding in diagnosis.findings if finding.code is code]
    return finding


def told(**settings: Any) -> Any:
    """Of each store, as JSON: name, role, outcome and reason."""
    diagnosis = asyncio.run(examine(**settings))
    stores = diagnosis_document(requested(**settings), diagnosis)["stores"]
    assert all(set(store) == {"name", "role", "outcome", "milliseconds", "reason"} for store in stores)
    return [(store["name"], store["role"], store["outcome"], store["reason"]) for store in stores]


class Theirs:
    """A store that does as the test says: ``theirs://WHAT``."""

    does: ClassVar[Callable[[str], object]]
    asked: ClassVar[list[str]]
    closed: ClassVar[int]

    def __init__(self, url: str) -> None:
        self._do("open")

    async def put(self, id: str, data: bytes) -> None:
        self._do("put")

    async def get(self, id: str) -> bytes:
        assert re.fullmatch("[0-9a-f]{32}", id)
        self._do("get")
        raise PayloadMissing("the datastore has no such payload")

    async def delete(self, id: str) -> None:
        self._do("delete")

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        self._do("list")
        return
        yield

    async def check(self) -> None:
        self._do("check")

    async def close(self) -> None:
        type(self).closed += 1
        self._do("close")

    def _do(self, operation: str) -> None:
        self.asked.append(operation)
        type(self).does(operation)


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> type[Theirs]:
    Theirs.does, Theirs.asked, Theirs.closed = lambda operation: None, [], 0
    points = [EntryPoint("theirs", f"{__name__}:Theirs", "envelope_codec.stores")]
    points.append(EntryPoint("file", "envelope_codec.storage.files:FileStore", "envelope_codec.stores"))
    monkeypatch.setattr("envelope_codec.datastore.lookup.metadata.entry_points", lambda group: points)
    return Theirs


def doing(**raised: BaseException) -> Callable[[str], object]:
    def does(operation: str) -> None:
        if operation in raised:
            raise raised[operation]

    return does


async def test_the_store_is_written_to_and_former_ones_are_only_read(theirs: type[Theirs]) -> None:
    theirs.does = doing(
        put=StoreRefused("read-only"), delete=StoreRefused("read-only"), check=StoreRefused("read-only")
    )
    former = await examine(former_storage=["theirs://a?name=a", "theirs://b?name=b"])
    assert (problems(former), former.status) == ([], 0)
    assert sorted(theirs.asked) == ["close", "close", "get", "get", "open", "open"]
    assert [store.answer.error for store in former.stores if store.answer] == [None, None]
    diagnosis = await examine(storage="theirs://a?name=a")
    assert problems(diagnosis) == [(Code.store_refused, "a")]
    assert found(diagnosis, Code.store_refused).text == "storing an empty payload and reading it failed: read-only"
    assert theirs.asked[-3:] == ["open", "check", "close"]


async def test_without_sealing_nothing_needs_to_be_written(theirs: type[Theirs]) -> None:
    theirs.does = doing(check=StoreRefused("read-only"))
    assert problems(await examine(storage="theirs://a", sealing=False)) == []
    assert theirs.asked == ["open", "get", "close"]


@pytest.mark.parametrize("setting", ["storage", "former_storage"])
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (StoreRefused("no permission"), Code.store_refused, "no permission"),
        (StoreUnavailable("no answer"), Code.store_unavailable, "no answer"),
        (EnvelopeError("other bytes came back"), Code.store_invalid, "other bytes came back"),
        (RuntimeError("sesame"), Code.store_unavailable, "the datastore failed unexpectedly"),
    ],
)
async def test_failures_are_told_apart(
    theirs: type[Theirs], setting: str, error: Exception, code: Code, said: str
) -> None:
    theirs.does = doing(check=error, get=error)
    url = "theirs://sesame@host?name=mine"
    diagnosis = await examine(**{setting: url if setting == "storage" else [url]})
    assert problems(diagnosis) == [(code, "mine")]
    finding = found(diagnosis, code)
    assert finding.text.endswith(f" failed: {said}")
    assert finding.fix
    assert (theirs.closed, diagnosis.status) == (1, 1)
    assert "sesame" not in repr(diagnosis)


async def test_what_was_stored_and_is_missing_is_a_problem(theirs: type[Theirs]) -> None:
    theirs.does = doing(check=PayloadMissing("the datastore has no such payload"))
    assert problems(await examine(storage="theirs://a?name=a")) == [(Code.store_invalid, "a")]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConfigurationError("storage: no option 'x'"), "this datastore can't be used: no option 'x'"),
        (
            ModuleNotFoundError("no", name="driver"),
            "this datastore can't be used: theirs:// needs a missing package, driver: install 'driver'",
        ),
        (ValueError("theirs://sesame"), "this datastore can't be used: it can't be opened: ValueError"),
    ],
)
async def test_a_store_that_cannot_be_opened_is_a_finding(theirs: type[Theirs], error: Exception, said: str) -> None:
    theirs.does = doing(open=error)
    diagnosis = await examine(storage="theirs://sesame@host")
    assert problems(diagnosis) == [(Code.store_unusable, "envelope-theirs")]
    finding = found(diagnosis, Code.store_unusable)
    assert (finding.text, finding.fix) == (said, "correct storage, or install or mend what it names")
    assert "sesame" not in repr(diagnosis)


async def test_one_bad_store_keeps_no_other_from_being_asked(theirs: type[Theirs], tmp_path: Path) -> None:
    theirs.does = doing(close=OSError("the server is gone"))
    diagnosis = await examine(
        storage=f"file://{tmp_path}/astray?name=gone",
        former_storage=["nothing://x?name=nothing", f"file://{tmp_path}?name=good", "theirs://x?name=theirs"],
    )
    assert problems(diagnosis) == [(Code.store_refused, "gone"), (Code.store_unusable, "nothing")]
    assert "no store for URL scheme 'nothing'" in found(diagnosis, Code.store_unusable).text
    assert [store.answer is not None and store.answer.error is None for store in diagnosis.stores] == [
        False,
        False,
        True,
        True,
    ]


async def test_two_stores_with_one_name_are_told(theirs: type[Theirs]) -> None:
    diagnosis = await examine(storage="theirs://a", former_storage=["theirs://b?name=b", "theirs://c"])
    assert problems(diagnosis) == [(Code.configuration_invalid, "envelope-theirs")]
    assert found(diagnosis, Code.configuration_invalid).text.startswith("storage and former_storage[1] have this one ")


class OnceReached(Deadline):
    """Over as soon as an event is set."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__(0)
        self._event = event

    @property
    def remaining(self) -> float:
        assert self._event.wait(SECONDS)
        return 0.0


@pytest.mark.parametrize("operation", ["open", "check"])
async def test_it_ends_in_time_when_a_store_hangs(theirs: type[Theirs], operation: str) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def hang(asked: str) -> None:
        if asked == operation:
            reached.set()
            go_on.wait(SECONDS)

    theirs.does, calls = hang, Calls()
    request = requested(storage="theirs://sesame?name=mine")
    try:
        with quiet_logs() as words:
            diagnosis = await diagnose(request, OnceReached(reached), calls, words)
        assert calls.hang
    finally:
        go_on.set()
    assert (Code.no_answer_in_time, "mine") in problems(diagnosis)
    assert diagnosis_document(request, diagnosis)["stores"] == [
        {"name": "mine", "role": "storage", "outcome": None, "milliseconds": None, "reason": ""}
    ]


HANGS = """
import sys, threading
from importlib import metadata
from envelope_codec.cli import run
from envelope_codec.storage.files import FileStore

class Hanging(FileStore):
    def __init__(self, url):
        super().__init__("file:///")

    async def get(self, id):
        threading.Event().wait()

sys.modules["hanging"] = sys.modules["__main__"]
stores = [metadata.EntryPoint("hanging", "hanging:Hanging", "envelope_codec.stores")]
others = metadata.entry_points
metadata.entry_points = lambda **asked: stores if asked == {"group": "envelope_codec.stores"} else others(**asked)
run()
"""


@pytest.mark.slow
def test_the_process_ends_too(tmp_path: Path) -> None:
    file = tmp_path / "envelope.toml"
    file.write_text('key = "what://k"\nformer_storage = ["hanging://x?name=mine"]\n')
    done = subprocess.run(
        [sys.executable, "-c", HANGS, "doctor", "--config", str(file), "--timeout", "2"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "no-answer-in-time: mine" in done.stdout
    assert "  mine                former_storage[0]: no answer\n" in done.stdout


def test_a_directory_and_a_sqlite_table(tmp_path: Path) -> None:
    good = f"sqlite:///{tmp_path}/p.db"
    with sqlite3.connect(tmp_path / "p.db") as database:
        database.executescript(SqlStore(good).ddl)
    no_table = f"sqlite:///file:{tmp_path}/p.db?uri=true&name=no-table&table=astray"
    settings = {"storage": good, "former_storage": [f"file://{tmp_path}/astray?name=gone", no_table]}
    refused = "the table does not exist, or its schema"
    assert told(**settings) == [
        ("envelope-sqlite", "storage", "ok", ""),
        ("gone", "former_storage", "StoreRefused", GONE),
        ("no-table", "former_storage", "StoreRefused", refused),
    ]
    diagnosis = asyncio.run(examine(**settings))
    assert problems(diagnosis) == [(Code.store_refused, "gone"), (Code.store_refused, "no-table")]
    fixes = [finding.fix for finding in diagnosis.findings if finding.code is Code.store_refused]
    assert fixes[0].startswith("make the directory")
    assert "envelope-codec storage ddl" in fixes[1]
    (words,) = [finding.words for finding in diagnosis.findings if finding.subject == "gone"]
    assert words == "a file get failed: FileNotFoundError ENOENT"
    (words,) = [finding.words for finding in diagnosis.findings if finding.subject == "no-table"]
    assert words.startswith("SQL get failed: OperationalError")
    assert words.endswith("no such table")
    with sqlite3.connect(tmp_path / "p.db") as database:
        assert database.execute("SELECT count(*) FROM envelope_payloads").fetchone() == (0,)


def test_a_table_that_may_only_be_read_is_a_good_former_store(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "p.db") as database:
        database.executescript(SqlStore(f"sqlite:///{tmp_path}/p.db").ddl)
    url = f"sqlite:///file:{tmp_path}/p.db?mode=ro&uri=true"
    assert told(former_storage=[url]) == [("envelope-sqlite", "former_storage", "ok", "")]
    diagnosis = asyncio.run(examine(storage=url))
    assert problems(diagnosis) == [(Code.store_refused, "envelope-sqlite")]
    assert found(diagnosis, Code.store_refused).fix.endswith(
        "mount it writable; if this role only reads, name the store in former_storage"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="there is no directory that even root may not write to")
def test_a_directory_that_may_only_be_read_is_a_good_former_store() -> None:
    assert told(former_storage=["file:///sys/kernel"]) == [("envelope-file", "former_storage", "ok", "")]
    ((_, _, kind, reason),) = told(storage="file:///sys/kernel")
    assert (kind, reason) in [("StoreRefused", PERMISSION), ("StoreRefused", READ_ONLY)]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    create_key_file(tmp_path / "key.json")

    def run(lines: str, *options: str) -> tuple[int, str]:
        (tmp_path / "e.toml").write_text(f'key = "{key_uri(tmp_path / "key.json")}"\n{lines}')
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(["doctor", "--config", str(tmp_path / "e.toml"), *options])
        out, err = capsys.readouterr()
        assert err == ""
        return int(left.value.code or 0), out

    return run


def test_people_are_told_of_each_store(run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    status, out = run(
        f'storage = "file://{tmp_path}/kept"\n'
        f'former_storage = ["file://{tmp_path}/kept?name=old", "file://{tmp_path}/astray?name=gone", "no://x?name=none"]\n'
    )
    assert status == 1
    stores = out.partition("\nDatastores\n")[2].partition("\n\n")[0]
    assert re.sub(r"[0-9.]+ ms", "N ms", stores) == (
        "  envelope-file       storage: ok in N ms\n"
        "  old                 former_storage[0]: ok in N ms (only read)\n"
        "  gone                former_storage[1]: failed in N ms (only read)\n"
        "  none                former_storage[2]: can't be opened"
    )
    assert "  problem   store-refused: gone\n" in out
    assert "  problem   store-unusable: none\n" in out
    assert str(tmp_path / "kept") not in out
    assert "astray" not in out
    assert list((tmp_path / "kept").rglob("*")) == [path for path in (tmp_path / "kept").rglob("*") if path.is_dir()]


def test_without_a_store_nothing_is_said_of_any(run: Callable[..., tuple[int, str]]) -> None:
    status, out = run("")
    assert (status, "Datastores" in out) == (0, False)
    assert json.loads(run("", "--json")[1])["stores"] == []


def test_programs_are_told_the_same(run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    lines = f'storage = "file://{tmp_path}"\nformer_storage = ["postgresql+astray://:sesame@host?name=odd"]\n'
    status, out = run(lines, "--json")
    good, odd = json.loads(out)["stores"]
    assert good.pop("milliseconds") > 0
    assert good == {"name": "envelope-file", "role": "storage", "outcome": "ok", "reason": ""}
    reason = odd.pop("reason")
    assert reason.startswith("SQLAlchemy can't make an engine of the URL")
    assert odd == {"name": "odd", "role": "former_storage", "outcome": "ConfigurationError", "milliseconds": None}
    assert status == 1
    assert "sesame" not in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "url", "extra"),
    [
        ("redis", "redis://:sesame@127.0.0.1:1", "storage-redis"),
        ("sqlalchemy", "sqlite:////astray.db", "storage-sql"),
        ("aiosqlite", "sqlite:////astray.db", "storage-sql"),
    ],
)
def test_a_missing_extra_is_told_with_its_pip_line(tmp_path: Path, missing: str, url: str, extra: str) -> None:
    file = tmp_path / "envelope.toml"
    file.write_text(f'key = "what://k"\nstorage = "{url}"\n')
    command = [sys.executable, "-c", WITHOUT.format(missing=missing), "doctor", "--config", str(file), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (1, "")
    (finding,) = [one for one in json.loads(done.stdout)["findings"] if one["code"] == "store-unusable"]
    assert finding["fix"] == f'pip install "temporal-envelope-codec[{extra}]"'
    assert "sesame" not in done.stdout
