"""No error that leaves us, and no record of our log, leads to a key, a secret or plaintext."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec, StorageDriverRetrieveContext, StorageDriverStoreContext

from envelope_codec import EnvelopeConfig, EnvelopeError, InvalidCiphertext, KmsUnavailable, envelope
from envelope_codec._frames import frameless, place_of, text_of, without_frames
from envelope_codec.cli.keygen import create_key_file
from envelope_codec.envelope import NAME_DATA_KEY, NAME_ENCODING, NAME_KEY_ID, NAME_RECORD
from envelope_codec.errors import ConfigurationError
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.keyset import KeySet
from envelope_codec.kms import WrappedSecret
from envelope_codec.plugin import envelope_data_converter
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.pool import Pool
from envelope_codec.store import parse_store_url
from envelope_codec.temporal import codec
from envelope_codec.temporal.chain import CodecChain
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from envelope_codec_local import LocalKeyFile
from tests.support.frame_walker import Sentinels, leaks, leaks_of_record
from tests.support.keyring_on_fakes import Ring, corrupted, settle, wrapped_by

TEXT = b"marigold-in-plaintext"
FIRST, SECOND = (Payload(metadata={"encoding": b"json/plain"}, data=b'"%b %d"' % (TEXT, n)) for n in (1, 2))
CONTEXT = {"temporal-namespace": "default"}


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Sentinels:
    """The plaintext, and every secret and every key that is made from now on."""
    found = Sentinels(TEXT)
    chance, expand = os.urandom, envelope.expand

    def urandom(length: int) -> bytes:
        made = chance(length)
        if length >= 32:
            found.add(made[:32])
        return made

    def expanded(key: bytes, label: bytes, message: bytes) -> bytes:
        block = expand(key, label, message)
        found.add(block[:32])
        return block

    monkeypatch.setattr(os, "urandom", urandom)
    monkeypatch.setattr(envelope, "expand", expanded)
    return found


@pytest.fixture(autouse=True)
def log(secrets: Sentinels, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever the test logs is looked through as well."""
    caplog.set_level(logging.DEBUG)
    yield
    for record in caplog.get_records("call"):
        if record.name.startswith("envelope_codec"):
            assert record.exc_info is None, record.getMessage()
            assert not secrets.found(record.getMessage()), record.getMessage()
        assert leaks_of_record(record, secrets) == []


async def failure(work: Awaitable[object]) -> BaseException:
    """What ``work`` raises."""
    try:
        await work
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


async def assert_clean(secrets: Sentinels, work: Awaitable[object], kind: type[BaseException]) -> BaseException:
    error = await failure(work)
    assert type(error) is kind
    assert leaks(error, secrets) == []
    return error


class Works:
    """A codec over a keyring with fakes."""

    def __init__(self, **settings: Any) -> None:
        self.kms = FakeKms()
        self.ring = Ring(KeySet(self.kms), direct=settings.get("wrapping") == "direct")
        self.codec = EnvelopeCodec(EnvelopeConfig(key=self.kms, **settings), keyring=self.ring.keyring)

    async def sealed(self) -> list[Payload]:
        return await self.ring.finish(self.codec.encode([FIRST, SECOND]))

    async def at_hand(self) -> list[Payload]:
        """Two sealed payloads, whose key is at hand for opening."""
        sealed = await self.sealed()
        await self.ring.finish(self.codec.decode(sealed))
        return sealed

    def forget(self) -> None:
        """Have no key at hand, in a new keyring."""
        self.ring = Ring(KeySet(self.kms))
        self.codec = EnvelopeCodec(EnvelopeConfig(key=self.kms), keyring=self.ring.keyring)


# --- the walk itself --------------------------------------------------------------------------------------------------


def _holding(secret: object) -> None:
    raise ValueError


@pytest.mark.parametrize(
    "holder",
    [
        lambda secret: secret,
        lambda secret: [{"a": (secret,)}],
        lambda secret: lambda: secret,
        lambda secret: base64.b64encode(secret).decode(),
        lambda secret: Payload(data=secret),
        lambda secret: WrappedSecret("", "", secret),
    ],
)
def test_the_walk_finds_what_is_there(holder: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.frame_walker._OURS", (__file__,))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - raised here, without words
        _holding(holder(TEXT))
    error = caught.value
    assert error.__traceback__ is not None
    assert leaks(error.with_traceback(error.__traceback__.tb_next), Sentinels(TEXT))
    assert leaks(error.with_traceback(None), Sentinels(TEXT)) == []


@pytest.mark.parametrize("secret", [TEXT, bytes(range(100, 132)), b"\xff\xfe'\"+/ and a text, 30 bytes.."])
@pytest.mark.parametrize("before", [b"", b"a", b"ab"], ids=len)
def test_a_sentinel_is_found_in_every_form(secret: bytes, before: bytes) -> None:
    whole = before + secret + b"and more"
    forms: list[bytes | str] = [
        whole,
        whole.hex(),
        whole.hex(" "),
        whole.hex().upper(),
        repr(whole),
        repr(bytearray(whole)),
        repr([*whole]),
        base64.b64encode(whole),
        base64.urlsafe_b64encode(whole),
        json.dumps({"a": whole.decode("latin-1")}),
        quote(whole),
        quote_plus(whole),
        quote(base64.b64encode(whole), safe=""),
        whole.decode("latin-1") if whole.isascii() else whole,
    ]
    assert [form for form in forms if not Sentinels(secret).found(form)] == []
    assert [form for form in forms if Sentinels(secret[::-1]).found(form)] == []


# --- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", [NAME_DATA_KEY, NAME_KEY_ID, NAME_RECORD, NAME_ENCODING, "commitment", "nonce", "tag"]
)
@pytest.mark.parametrize("last", [False, True])
async def test_a_flipped_bit(place: str, last: bool, secrets: Sentinels) -> None:
    works = Works()
    first, second = await works.at_hand()
    if place in second.metadata:
        data = bytearray(second.metadata[place])
        data[-1 if last else 0] ^= 1
        second.metadata[place] = bytes(data)
    else:
        data = bytearray(second.data)
        data[{"commitment": 0, "nonce": 32, "tag": -1}[place]] ^= 1
        second.data = bytes(data)
    error = await failure(works.ring.finish(works.codec.decode([first, second])))
    assert isinstance(error, EnvelopeError)
    assert leaks(error, secrets) == []


@pytest.mark.parametrize("change", ["data key", "commitment", "tag"])
async def test_opening_one_envelope_with_a_key_that_does_not_fit(change: str, secrets: Sentinels) -> None:
    works = Works()
    sealed = (await works.sealed())[0]
    found = envelope.parse(sealed.metadata, sealed.data)
    assert found is not None
    key = await works.ring.open(found.record)
    flipped = {
        "data key": lambda: (found, bytes(32)),
        "commitment": lambda: (found._replace(data=bytes(32) + found.data[32:]), key),
        "tag": lambda: (found._replace(data=found.data[:-1] + bytes((found.data[-1] ^ 1,))), key),
    }[change]()

    async def opened() -> None:
        envelope.open_envelope(*flipped)

    await assert_clean(secrets, opened(), InvalidCiphertext)


@pytest.mark.parametrize("secret", [b"short", b"another secret of 32 bytes......"], ids=["length", "value"])
async def test_unlocking_a_record_with_another_secret(secret: bytes, secrets: Sentinels) -> None:
    record, _ = wrapped_by(FakeKms())
    secrets.add(secret)

    async def unlocked() -> None:
        envelope.unlock(record, secret)

    await assert_clean(secrets, unlocked(), InvalidCiphertext)


FAULTS: dict[str, Callable[[FakeKms], object]] = {
    "denied": lambda kms: setattr(kms, "denied", True),
    "down": lambda kms: setattr(kms, "down", True),
    "a bug": lambda kms: kms.fail_next(*[TypeError("a bug")] * 100),
    "a cancelled call": lambda kms: kms.fail_next(*[asyncio.CancelledError()] * 100),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("wrapping", ["wrapping-key", "direct"])
@pytest.mark.parametrize("operation", ["encode", "decode"])
async def test_a_kms_that_fails(fault: str, wrapping: str, operation: str, secrets: Sentinels) -> None:
    works = Works(wrapping=wrapping)
    sealed = await works.sealed()
    works.forget()
    FAULTS[fault](works.kms)
    work = works.codec.encode([FIRST, SECOND]) if operation == "encode" else works.codec.decode(sealed)
    error = await failure(works.ring.finish(work))
    assert isinstance(error, EnvelopeError)
    assert leaks(error, secrets) == []


async def test_a_record_that_is_corrupt_after_one_that_opened(secrets: Sentinels) -> None:
    works = Works()
    good = (await works.at_hand())[0]
    record, _ = wrapped_by(works.kms)
    bad = corrupted(record, 0)
    await works.ring.open(record)
    broken = Payload(metadata={**bad.metadata, NAME_DATA_KEY: bytes(40)}, data=bytes(envelope.MIN_DATA))
    await assert_clean(secrets, works.ring.finish(works.codec.decode([good, broken])), InvalidCiphertext)


async def test_a_closed_keyring(secrets: Sentinels) -> None:
    works = Works()
    sealed = await works.at_hand()
    works.ring.keyring.close()
    await assert_clean(secrets, works.codec.decode(sealed), KmsUnavailable)
    await assert_clean(secrets, works.codec.encode([FIRST]), KmsUnavailable)


@pytest.mark.parametrize("operation", ["encode", "decode"])
async def test_a_caller_that_is_cancelled_while_it_waits(operation: str, secrets: Sentinels) -> None:
    works = Works()
    good = (await works.at_hand())[0]
    record, _ = wrapped_by(works.kms)
    other = Payload(metadata={**record.metadata, NAME_DATA_KEY: bytes(40)}, data=bytes(envelope.MIN_DATA))
    works.kms.down = True
    if operation == "encode":
        works.forget()
    work = works.codec.encode([FIRST]) if operation == "encode" else works.codec.decode([good, other])
    task = asyncio.ensure_future(work)
    await settle()
    task.cancel("enough")
    error = await assert_clean(secrets, task, asyncio.CancelledError)
    assert task.cancelled()
    assert error.args in ((), ("enough",))


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError, SystemExit, TypeError, RecursionError])
@pytest.mark.parametrize("operation", ["encode", "decode"])
async def test_what_comes_up_in_the_middle_of_the_work(
    operation: str, kind: type[BaseException], secrets: Sentinels, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = Works()
    sealed = await works.at_hand()

    def fails(*arguments: object) -> None:
        raise kind(arguments)

    def work() -> Coroutine[Any, Any, Any]:
        return works.codec.encode([FIRST]) if operation == "encode" else works.codec.decode(sealed)

    class Runs:
        def __await__(self) -> Any:
            return work().__await__()

    monkeypatch.setattr(codec, "seal_payload" if operation == "encode" else "strip", fails)
    error = await failure(Runs())
    if issubclass(kind, Exception):
        assert type(error) is EnvelopeError
        assert leaks(error, secrets) == []
    else:
        assert type(error) is kind
        error.args = ()  # of this test, and not of ours
        assert leaks(error, secrets) == []


async def test_a_fault_of_the_codec_is_logged_with_its_place_and_without_its_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    works = Works()

    def buggy(*_: object) -> None:
        raise TypeError(TEXT.decode())

    monkeypatch.setattr(codec, "seal_payload", buggy)
    error = await failure(works.ring.finish(works.codec.encode([FIRST])))
    assert str(error) == "the codec failed unexpectedly"
    assert "TypeError" in caplog.text
    assert "buggy" in caplog.text
    assert TEXT.decode() not in caplog.text


async def test_no_line_of_the_log_holds_a_key_a_secret_or_plaintext(
    secrets: Sentinels, caplog: pytest.LogCaptureFixture
) -> None:
    """At any level, whatever happens. That nothing is found in the lines of other tests here, `log` sees to."""
    works = Works()
    sealed = await works.at_hand()
    sealed[0].data = bytes(len(sealed[0].data))
    await failure(works.codec.decode(sealed))
    await failure(works.ring.finish(works.codec.decode([Payload(data=TEXT, metadata=sealed[0].metadata)])))
    for fault in FAULTS.values():
        works.forget()
        fault(works.kms)
        await failure(works.ring.finish(works.codec.encode([FIRST])))
        works.kms.denied = works.kms.down = False
        works.kms._failures.clear()
    lines = [record.getMessage() for record in caplog.get_records("call") if record.name.startswith("envelope_codec")]
    assert len(lines) > 4
    assert len(secrets.secrets) > 4
    assert [line for line in lines if secrets.found(line)] == []


# --- the keyring, the SDK's converter, other codecs, storage ----------------------------------------------------------


CALLS: dict[str, Callable[[Keyring, Any], Awaitable[object]]] = {
    "opening": lambda keyring, record: keyring.opening_key(record),
    "sealing": lambda keyring, record: keyring.sealing_key("default"),
    "prewarm": lambda keyring, record: keyring.prewarm("default", timeout=30),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_the_keyring(call: str, fault: str, secrets: Sentinels) -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    secrets.add(key)
    FAULTS[fault](ring.kms)
    error = await failure(ring.finish(CALLS[call](ring.keyring, record)))
    assert isinstance(error, EnvelopeError)
    assert leaks(error, secrets) == []


async def test_a_renewal_that_fails(secrets: Sentinels) -> None:
    ring = Ring()
    await ring.seal()
    ring.kms.down = True
    await assert_clean(secrets, ring.finish(ring.keyring.renew()), KmsUnavailable)


async def test_the_data_converter(secrets: Sentinels) -> None:
    kms = FakeKms()
    converter = envelope_data_converter(kms)
    sealed = await converter.encode([TEXT.decode()])
    sealed[0].data = sealed[0].data[:-1] + bytes((sealed[0].data[-1] ^ 1,))
    await assert_clean(secrets, converter.decode(sealed), InvalidCiphertext)
    kms.denied = True
    other = envelope_data_converter(kms)
    error = await failure(other.encode([TEXT.decode()]))
    assert leaks(error, secrets) == []
    for one in (converter, other):
        one.payload_codec.close()  # type: ignore[union-attr]


class Failing(PayloadCodec):
    """A user's codec, which fails with the plaintext in its hands."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        held = [*payloads]
        raise LookupError(len(held))

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        plain = TEXT * len(payloads)
        raise LookupError(len(plain))


async def test_a_user_s_codec_in_the_chain(secrets: Sentinels) -> None:
    works = Works()
    chain = CodecChain([Failing(), works.codec])
    sealed = await works.sealed()
    for work in (chain.encode([FIRST]), works.ring.finish(chain.decode(sealed))):
        assert leaks(await failure(work), secrets) == []


async def test_a_legacy_codec_that_fails(secrets: Sentinels, caplog: pytest.LogCaptureFixture) -> None:
    works = Works(legacy_codecs=[Failing()])
    await assert_clean(secrets, works.codec.decode([FIRST]), InvalidCiphertext)
    assert "LookupError" in caplog.text


async def test_a_storage_driver(secrets: Sentinels, tmp_path: Path) -> None:
    works = Works()
    folder = tmp_path / "store"
    folder.mkdir()
    pool = Pool(parse_store_url(f"file://{folder}"))
    driver = EnvelopeDriver(pool, works.codec)
    sealed = await works.at_hand()
    claims = await driver.store(StorageDriverStoreContext(), sealed)
    for kept in folder.rglob("*"):
        if kept.is_file():
            kept.write_bytes(b"other bytes")
    error = await failure(driver.retrieve(StorageDriverRetrieveContext(), claims))
    assert leaks(error, secrets) == []
    for given in ([FIRST], [FIRST, SECOND]):
        assert leaks(await failure(driver.store(StorageDriverStoreContext(), given)), secrets) == []
    await pool.aclose()


# --- providers: the key file here, the others beside their tables of errors -------------------------------------------


def test_a_key_file(secrets: Sentinels, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    create_key_file(path)
    key = LocalKeyFile(path)
    whole = path.read_bytes()
    versions = json.loads(whole)["versions"]
    secrets.add(base64.b64decode(versions["1"]))
    secret = os.urandom(32)
    wrapped = key.wrap(secret, CONTEXT)
    broken = [
        whole.replace(b'"id"', b'"id2"'),
        whole.replace(b'"primary": 1', b'"primary": 2'),
        whole[:-5],
        json.dumps({**json.loads(whole), "versions": {**versions, "2": versions["1"]}}).encode(),
        json.dumps({**json.loads(whole), "versions": {**versions, "2": "x" + versions["1"]}}).encode(),
        json.dumps({**json.loads(whole), "disabled": ["all"]}).encode(),
    ]

    def fails(call: Callable[[], object]) -> BaseException:
        with pytest.raises(EnvelopeError) as caught:
            call()
        return caught.value

    end = bytes([wrapped.ciphertext[-1] ^ 1])
    changed = WrappedSecret(wrapped.key_id, wrapped.key_version, wrapped.ciphertext[:-1] + end)
    calls: list[Callable[[], object]] = [lambda: key.unwrap(changed, CONTEXT), lambda: key.unwrap(wrapped, {"a": "b"})]
    for call in calls:
        assert leaks(fails(call), secrets) == []
    for data in broken:
        path.write_bytes(data)
        assert leaks(fails(lambda: key.wrap(secret, CONTEXT)), secrets) == []
        assert leaks(fails(lambda: key.unwrap(wrapped, CONTEXT)), secrets) == []
        if b"all" not in data:
            assert leaks(fails(lambda: LocalKeyFile(path)), secrets) == []


def test_a_fault_of_a_provider_is_told_as_one_and_logged_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secrets: Sentinels, caplog: pytest.LogCaptureFixture
) -> None:
    create_key_file(tmp_path / "key.json")
    key = LocalKeyFile(tmp_path / "key.json")

    def buggy(context: object) -> bytes:
        raise TypeError("words")

    monkeypatch.setattr("envelope_codec_local._master_key.context_bytes", buggy)
    with pytest.raises(KmsUnavailable, match=r"^the provider failed unexpectedly$") as caught:
        key.wrap(os.urandom(32), CONTEXT)
    assert leaks(caught.value, secrets) == []
    assert (caught.value.operation, caught.value.key_id) == ("wrap", key.key_id)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "TypeError" in record.getMessage()
    assert "in buggy" in record.getMessage()
    assert "words" not in record.getMessage().replace('TypeError("words")', "")  # the line of source has them


# --- the helper, and the sources --------------------------------------------------------------------------------------


def test_an_error_without_frames_keeps_its_words_and_its_causes_words() -> None:
    @frameless
    def fails(secret: bytes) -> None:
        try:
            raise KeyError(len(secret))
        except KeyError as error:
            raise ValueError("said") from error

    with pytest.raises(ValueError, match="said") as caught:
        fails(TEXT)
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__cause__.__traceback__ is None
    assert caught.value.__context__ is None
    assert not [tb for tb in caught.traceback if "secret" in tb.frame.f_locals]


def test_errors_in_a_circle_end() -> None:
    one, other = ValueError(), KeyError()
    one.__cause__, other.__cause__ = other, one
    assert without_frames(one) is one


def test_the_cause_of_an_import_that_fails_keeps_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_legacy.py").write_text("raise OSError('at import')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        EnvelopeCodec(EnvelopeConfig(key=FakeKms(), legacy_codecs=["broken_legacy:codec"]))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.__traceback__ is not None


def test_no_log_record_carries_frames() -> None:
    """Whoever listens to the log could walk them. An error is logged by `frames.text_of` or `frames.place_of`."""
    root = Path(__file__).parents[2]
    sources = [*(root / "envelope_codec").rglob("*.py"), *(root / "providers").rglob("*.py")]
    carrying = re.compile(r"exc_info\s*=(?! record\.exc_text = None)|\blog(?:ger)?\.exception\(|stack_info\s*=")
    assert len(sources) > 50
    assert [str(source) for source in sources if carrying.search(source.read_text())] == []


def test_what_is_logged_of_an_error_can_be_written() -> None:
    try:
        raise ValueError("a lone surrogate: \ud800")
    except ValueError as error:
        said = text_of(error), place_of(error)
    assert "\\ud800" in said[0]
    assert all(text.encode() for text in said)
