"""One suite over every provider, each against its real server.

A harness gives, for one provider: ``name``; ``create_key`` (a key URI); ``open`` (a `MasterKey`), ``rotate``,
``disable``, ``enable`` and ``schedule_deletion``, each by key URI; ``tells_versions``, whether a ciphertext records its
key's version; and, if it wants one, ``close``.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.kms import MasterKey, WrappedSecret
from tests.support.misbehaving_listeners import closed_port, resetting_port, silent_port

# Where LocalStack differs from AWS. Expected to be let through there; a failure elsewhere, and there too once
# LocalStack refuses it.
LOCALSTACK_DEVIATES = {
    "shifted context": (
        "LocalStack joins context names and values without a separator, so that two contexts that concatenate to the "
        "same text are one to it; AWS refuses"
    ),
}

PROVIDERS = ("aws", "gcp", "vault", "local")
SECRET = bytes(range(32))
CONTEXT = {
    "temporal-namespace": "default",
    "tenant": "t1",
    "envelope-codec:purpose": "wrapping-key",
    "envelope-codec:id": "00112233445566778899aabbccddeeff" * 2,
}


def harness_of(name: str, request: pytest.FixtureRequest) -> Any:
    """Imported only here, so that a provider runs without the SDKs of the others."""
    if name == "aws":
        from tests.support.harness_aws import AwsHarness

        return AwsHarness(request.getfixturevalue("localstack"))
    if name == "gcp":
        from tests.support.harness_gcp import GcpHarness

        return GcpHarness(request.getfixturevalue("gcp_kms_server"))
    if name == "vault":
        from tests.support.harness_vault import VaultHarness

        return VaultHarness(request.getfixturevalue("openbao"))
    from tests.support.harness_local import LocalHarness

    return LocalHarness(request.getfixturevalue("tmp_path_factory").mktemp("keys"))


@pytest.fixture(scope="module", params=PROVIDERS)
def harness(request: pytest.FixtureRequest) -> Iterator[Any]:
    harness = harness_of(request.param, request)
    yield harness
    getattr(harness, "close", lambda: None)()


@pytest.fixture
def uri(harness: Any) -> str:
    made: str = harness.create_key()
    return made


@pytest.fixture
def key(harness: Any, uri: str) -> Iterator[MasterKey]:
    key = harness.open(uri)
    yield key
    key.close()


@pytest.fixture
def foreign(harness: Any) -> Iterator[MasterKey]:
    key = harness.open(harness.create_key())
    yield key
    key.close()


def deviates(harness: Any, request: pytest.FixtureRequest, deviation: str) -> None:
    if harness.name == "aws":
        request.applymarker(
            pytest.mark.xfail(reason=LOCALSTACK_DEVIATES[deviation], raises=pytest.fail.Exception, strict=True)
        )


def refused(kind: type[EnvelopeError], call: Callable[[], object], *, operation: str, unsaid: tuple[str, ...]) -> None:
    """``call`` raises exactly ``kind``, which tells nothing that may not stand in workflow history in clear."""
    with pytest.raises(EnvelopeError) as caught:
        call()
    error = caught.value
    assert type(error) is kind
    check_error(error, operation, unsaid)


def check_error(error: EnvelopeError, operation: str, unsaid: tuple[str, ...]) -> None:
    assert error.retryable is isinstance(error, KmsUnavailable)
    assert error.operation == operation
    assert error.key_id
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    for text in (error.key_id, *unsaid):
        assert text not in str(error)
        assert all(name not in str(error) for name in names_in(text))


def names_in(text: str) -> list[str]:
    """The parts of a key id or URI that name something: those with a digit in them, such as ids, accounts and ports."""
    return [part for part in re.split(r"[^\w.-]+", text) if len(part) >= 4 and re.search(r"\d", part)]


# What comes back


def test_it_is_a_master_key(key: MasterKey) -> None:
    assert isinstance(key, MasterKey)


def test_a_secret_comes_back(key: MasterKey) -> None:
    assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, b"\n" * 32], ids=["zeros", "ones", "line ends"])
def test_every_byte_value_comes_back(key: MasterKey, secret: bytes) -> None:
    assert key.unwrap(key.wrap(secret, CONTEXT), CONTEXT).secret == secret


def test_another_object_for_the_same_key_unwraps(harness: Any, uri: str, key: MasterKey) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    other = harness.open(uri)
    try:
        assert other.key_id == key.key_id
        assert other.accepts(wrapped.key_id)
        assert other.unwrap(wrapped, CONTEXT).secret == SECRET
    finally:
        other.close()


def test_the_order_of_the_context_does_not_matter(key: MasterKey) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    assert key.unwrap(wrapped, dict(reversed(CONTEXT.items()))).secret == SECRET


def test_wrapping_changes_nothing_in_the_context(key: MasterKey) -> None:
    context = dict(CONTEXT)
    key.unwrap(key.wrap(SECRET, context), context)
    assert context == CONTEXT


def test_two_wraps_of_one_secret_differ(key: MasterKey) -> None:
    first, second = key.wrap(SECRET, CONTEXT), key.wrap(SECRET, CONTEXT)
    assert first.ciphertext != second.ciphertext
    assert (first.key_id, first.key_version) == (second.key_id, second.key_version)


def test_the_ciphertext_does_not_hold_the_secret(key: MasterKey) -> None:
    assert SECRET not in key.wrap(SECRET, CONTEXT).ciphertext


def test_what_is_recorded_is_within_bounds(key: MasterKey) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    assert 1 <= len(wrapped.key_id.encode()) <= 512
    assert len(wrapped.key_version.encode()) <= 256
    assert 32 < len(wrapped.ciphertext) <= 4096
    assert type(wrapped.ciphertext) is bytes


def test_a_version_is_recorded_where_the_kms_tells_it(harness: Any, key: MasterKey) -> None:
    assert bool(key.wrap(SECRET, CONTEXT).key_version) is harness.tells_versions


# Key ids


def test_the_recorded_key_id_is_canonical(harness: Any, uri: str, key: MasterKey) -> None:
    """One spelling a key, which holds neither endpoint nor credentials: opened by itself it is itself."""
    wrapped = key.wrap(SECRET, CONTEXT)
    assert key.key_id == wrapped.key_id
    assert key.accepts(wrapped.key_id)
    assert key.key_id.isprintable()
    assert "127.0.0.1" not in key.key_id
    assert "endpoint" not in key.key_id


def test_a_foreign_key_id_is_not_accepted(key: MasterKey, foreign: MasterKey) -> None:
    assert key.key_id != foreign.key_id
    assert not key.accepts(foreign.key_id)
    assert not foreign.accepts(key.key_id)


def test_no_other_spelling_of_the_key_id_is_accepted(uri: str, key: MasterKey) -> None:
    own = key.key_id
    for other in ("", own + "/", own + " ", " " + own, own + "\n", own[:-1], own + "x", own.upper(), own.swapcase()):
        assert other == own or not key.accepts(other)


# Context


def without(name: str) -> dict[str, str]:
    return {found: value for found, value in CONTEXT.items() if found != name}


WRONG_CONTEXTS = {
    "another value": {**CONTEXT, "temporal-namespace": "prod"},
    "a value in capitals": {**CONTEXT, "temporal-namespace": "Default"},
    "a longer value": {**CONTEXT, "temporal-namespace": "default "},
    "a missing entry": without("tenant"),
    "no entry": {},
    "an extra entry": {**CONTEXT, "another": "entry"},
    "a renamed entry": {**without("tenant"), "client": "t1"},
    "a renamed entry that sorts alike": {**without("tenant"), "tenants": "t1"},
    "a name in capitals": {**without("tenant"), "Tenant": "t1"},
    "exchanged values": {**CONTEXT, "temporal-namespace": "t1", "tenant": "default"},
    "another purpose": {**CONTEXT, "envelope-codec:purpose": "data-key"},
}


@pytest.mark.parametrize("wrong", WRONG_CONTEXTS)
def test_another_context_is_refused(uri: str, key: MasterKey, wrong: str) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    refused(
        InvalidCiphertext,
        lambda: key.unwrap(wrapped, WRONG_CONTEXTS[wrong]),
        operation="unwrap",
        unsaid=(uri, key.key_id),
    )


@pytest.mark.parametrize(
    ("sealed", "opened"),
    [
        ({"tenant": "t1"}, {"tenantt": "1"}),
        ({"tenantt": "1"}, {"tenant": "t1"}),
        ({"a": "b", "c": "d"}, {"a": "bcd"}),
        ({"a": "bcd"}, {"a": "b", "c": "d"}),
    ],
    ids=["one byte on", "one byte back", "two entries as one", "one entry as two"],
)
def test_a_shifted_context_is_refused(
    harness: Any,
    request: pytest.FixtureRequest,
    uri: str,
    key: MasterKey,
    sealed: Mapping[str, str],
    opened: Mapping[str, str],
) -> None:
    deviates(harness, request, "shifted context")
    wrapped = key.wrap(SECRET, sealed)
    refused(InvalidCiphertext, lambda: key.unwrap(wrapped, opened), operation="unwrap", unsaid=(uri, key.key_id))


UNICODE_CONTEXT = {"namespace": "schlüssel", "ключ": "значение", "\U0001f511": "鍵", "space and = & ?": "\"'\\\t\u2028"}


def test_names_and_values_in_any_script_come_back(key: MasterKey) -> None:
    assert key.unwrap(key.wrap(SECRET, UNICODE_CONTEXT), UNICODE_CONTEXT).secret == SECRET


def test_unicode_is_not_normalized(uri: str, key: MasterKey) -> None:
    wrapped = key.wrap(SECRET, {"namespace": "caf\u00e9"})
    refused(
        InvalidCiphertext,
        lambda: key.unwrap(wrapped, {"namespace": "cafe\u0301"}),
        operation="unwrap",
        unsaid=(uri, key.key_id),
    )


LARGEST_CONTEXTS = {
    "one long value": {"n" * 128: "v" * 4000, "m" * 128: "w" * 1744},
    "long names": {f"{number:0>128}": "v" for number in range(46)} | {"rest": "v" * 62},
    "three-byte characters": {"n" * 3: "鍵" * 1333, "m" * 3: "鍵" * 665},
    "many entries": {f"{number:0>30}": f"{number:0>30}" for number in range(100)},
}


@pytest.mark.parametrize("shape", LARGEST_CONTEXTS)
def test_a_context_of_6000_bytes_comes_back(key: MasterKey, shape: str) -> None:
    context = LARGEST_CONTEXTS[shape]
    assert sum(len(text.encode()) for pair in context.items() for text in pair) == 6000
    wrapped = key.wrap(SECRET, context)
    assert len(wrapped.ciphertext) <= 4096
    assert key.unwrap(wrapped, context).secret == SECRET


# Ciphertext


def flipped(wrapped: WrappedSecret, at: int) -> WrappedSecret:
    changed = bytearray(wrapped.ciphertext)
    changed[at] ^= 1
    return replace(wrapped, ciphertext=bytes(changed))


@pytest.mark.parametrize("place", [0, 1, 7, 0.25, 0.35, 0.5, 0.65, 0.75, 0.9, -2, -1])
def test_a_flipped_bit_is_refused(uri: str, key: MasterKey, place: float) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    at = place if isinstance(place, int) else int(place * len(wrapped.ciphertext))
    refuses_ciphertext(key, flipped(wrapped, at), uri)


@pytest.mark.parametrize("length", [1, 12, 27, 28, 35, 36, 48, 0.5, 0.9, -16, -1])
def test_a_truncated_ciphertext_is_refused(uri: str, key: MasterKey, length: float) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    end = length if isinstance(length, int) else int(length * len(wrapped.ciphertext))
    short = wrapped.ciphertext[:end]
    assert len(short) < len(wrapped.ciphertext)
    refuses_ciphertext(key, replace(wrapped, ciphertext=short), uri)


GARBAGE = {
    "empty": b"",
    "one byte": b"\0",
    "zeros": bytes(200),
    "random": os.urandom(184),
    "text": b"not a ciphertext at all",
    "Transit text": b"vault:v1:" + b"A" * 80,
    "Transit text, not base64": b"vault:v1:****",
    "Transit text, no version": b"vault:v:AAAA",
    "Transit text, a later version": b"vault:v999:" + b"A" * 80,
    "line ends": b"\r\n" * 40,
    "the longest": b"\xff" * 4096,
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_refused(uri: str, key: MasterKey, garbage: str) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    refuses_ciphertext(key, replace(wrapped, ciphertext=GARBAGE[garbage]), uri)


def test_bytes_after_the_ciphertext_are_refused(uri: str, key: MasterKey) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    longer = replace(wrapped, ciphertext=wrapped.ciphertext + b"\0")
    refuses_ciphertext(key, longer, uri)


def refuses_ciphertext(key: MasterKey, wrapped: WrappedSecret, uri: str) -> None:
    refused(InvalidCiphertext, lambda: key.unwrap(wrapped, CONTEXT), operation="unwrap", unsaid=(uri, key.key_id))


def test_a_ciphertext_of_a_foreign_key_is_refused(uri: str, key: MasterKey, foreign: MasterKey) -> None:
    wrapped = foreign.wrap(SECRET, CONTEXT)
    with pytest.raises((InvalidCiphertext, KeyDenied)) as caught:
        key.unwrap(wrapped, CONTEXT)
    check_error(caught.value, "unwrap", (uri, key.key_id, foreign.key_id))


def test_a_ciphertext_of_a_foreign_key_under_our_key_id_is_refused(
    uri: str, key: MasterKey, foreign: MasterKey
) -> None:
    forged = replace(foreign.wrap(SECRET, CONTEXT), key_id=key.key_id)
    refused(
        InvalidCiphertext,
        lambda: key.unwrap(forged, CONTEXT),
        operation="unwrap",
        unsaid=(uri, key.key_id, foreign.key_id),
    )


@pytest.mark.parametrize("version", ["", "2", "999", "v1", "x" * 256, "../../1", "\U0001f511", "\n"])
def test_a_forged_key_version_never_looks_like_an_outage(uri: str, key: MasterKey, version: str) -> None:
    """The version stands in the envelope in clear. Where the KMS needs it, a wrong one is refused, else ignored."""
    wrapped = key.wrap(SECRET, CONTEXT)
    forged = replace(wrapped, key_version=version)
    try:
        opened = key.unwrap(forged, CONTEXT)
    except (InvalidCiphertext, KeyDenied) as error:
        check_error(error, "unwrap", (uri, key.key_id))
    else:
        assert opened == key.unwrap(wrapped, CONTEXT), "nor does it change which version is proved"


# The key's life


def test_an_old_version_opens_after_rotation(harness: Any, uri: str, key: MasterKey) -> None:
    old = key.wrap(SECRET, CONTEXT)
    harness.rotate(uri)
    new = key.wrap(SECRET, CONTEXT)
    fresh = harness.open(uri)
    try:
        for reader in (key, fresh):
            assert reader.unwrap(old, CONTEXT).secret == SECRET
            assert reader.unwrap(new, CONTEXT).secret == SECRET
    finally:
        fresh.close()
    assert new.key_id == old.key_id == key.key_id
    assert (new.key_version != old.key_version) is harness.tells_versions


def test_a_ciphertext_of_an_old_version_is_still_authenticated(harness: Any, uri: str, key: MasterKey) -> None:
    old = key.wrap(SECRET, CONTEXT)
    harness.rotate(uri)
    refuses_ciphertext(key, flipped(old, -1), uri)


def test_a_disabled_key_denies_until_it_is_enabled(harness: Any, uri: str, key: MasterKey) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    harness.disable(uri)
    denies(key, wrapped, uri)
    harness.enable(uri)
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET
    assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET


def test_a_disabled_key_denies_what_an_old_version_wrapped(harness: Any, uri: str, key: MasterKey) -> None:
    old = key.wrap(SECRET, CONTEXT)
    harness.rotate(uri)
    harness.disable(uri)
    denies(key, old, uri)


def test_a_key_scheduled_for_deletion_denies(harness: Any, uri: str, key: MasterKey) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    harness.schedule_deletion(uri)
    denies(key, wrapped, uri)


def test_disabling_one_key_leaves_another_alone(harness: Any, uri: str, foreign: MasterKey) -> None:
    wrapped = foreign.wrap(SECRET, CONTEXT)
    harness.disable(uri)
    assert foreign.unwrap(wrapped, CONTEXT).secret == SECRET


def denies(key: MasterKey, wrapped: WrappedSecret, uri: str) -> None:
    refused(KeyDenied, lambda: key.unwrap(wrapped, CONTEXT), operation="unwrap", unsaid=(uri, key.key_id))
    refused(KeyDenied, lambda: key.wrap(SECRET, CONTEXT), operation="wrap", unsaid=(uri, key.key_id))


# The network

HARMS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "unreachable": closed_port,
    "slow": silent_port,
    "resetting": resetting_port,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("harness", [name for name in PROVIDERS if name != "local"], indirect=True, scope="module")
@pytest.mark.parametrize("harm", HARMS)
def test_a_kms_that_gives_no_answer_is_unavailable(harness: Any, uri: str, key: MasterKey, harm: str) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    with HARMS[harm]() as address:
        endpoint = address if harness.name == "gcp" else f"http://{address}"
        cut_off = harness.open(uri, endpoint=endpoint, read_timeout=0.2)
        unsaid = (uri, key.key_id, endpoint, address)
        refused(KmsUnavailable, lambda: cut_off.unwrap(wrapped, CONTEXT), operation="unwrap", unsaid=unsaid)
        refused(KmsUnavailable, lambda: cut_off.wrap(SECRET, CONTEXT), operation="wrap", unsaid=unsaid)
        cut_off.close()


def test_the_key_file_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    from tests.support.harness_local import LocalHarness

    harness = LocalHarness(tmp_path)
    uri = harness.create_key()
    key = harness.open(uri)
    wrapped = key.wrap(SECRET, CONTEXT)
    (file,) = tmp_path.iterdir()
    file.unlink()
    unsaid = (uri, key.key_id, str(file))
    refused(KmsUnavailable, lambda: key.unwrap(wrapped, CONTEXT), operation="unwrap", unsaid=unsaid)
    refused(KmsUnavailable, lambda: key.wrap(SECRET, CONTEXT), operation="wrap", unsaid=unsaid)


# Threads and closing


@pytest.mark.timeout(120)
def test_sixteen_threads_at_once(key: MasterKey) -> None:
    start = threading.Barrier(16)
    wrong: list[object] = []

    def use(number: int) -> None:
        secret, context = bytes([number]) * 32, {**CONTEXT, "thread": str(number)}
        start.wait()
        try:
            for _ in range(5):
                wrapped = key.wrap(secret, context)
                if key.unwrap(wrapped, context).secret != secret:
                    wrong.append(number)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.timeout(60)
def test_close_may_be_called_twice_and_use_after_it_ends(harness: Any, uri: str) -> None:
    """It works or it fails by the library's own errors; it neither hangs nor raises anything else."""
    key = harness.open(uri)
    wrapped = key.wrap(SECRET, CONTEXT)
    key.close()
    key.close()
    calls: dict[str, Callable[[], object]] = {
        "unwrap": lambda: key.unwrap(wrapped, CONTEXT),
        "wrap": lambda: key.wrap(SECRET, CONTEXT),
    }
    for operation, call in calls.items():
        try:
            call()
        except EnvelopeError as error:
            check_error(error, operation, (uri, key.key_id))
    key.close()


def test_an_unused_key_can_be_closed(harness: Any, uri: str) -> None:
    key = harness.open(uri)
    key.close()
    key.close()


def test_closing_one_object_leaves_another_for_the_same_key_alone(harness: Any, uri: str, key: MasterKey) -> None:
    other = harness.open(uri)
    other.wrap(SECRET, CONTEXT)
    other.close()
    assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET


def test_repr_shows_neither_endpoint_nor_credentials(harness: Any, key: MasterKey) -> None:
    key.wrap(SECRET, CONTEXT)
    assert "127.0.0.1" not in repr(key)
    assert repr(SECRET) not in repr(key)
