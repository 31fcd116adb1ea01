"""Targets of the fuzzer find faults: each is planted here, and comes out of inputs that are in the seeds already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from envelope_codec import _wire, envelope, keystore_row
from envelope_codec.errors import ConfigurationError
from envelope_codec.server.payloads import protobuf_json
from envelope_codec.temporal import zstd_frame
from tests.fuzz.sections import Sections, join
from tests.fuzz.target import load
from tests.fuzz.targets import server_body


def failures(check: Callable[[bytes], object], seeds: Mapping[str, bytes]) -> list[str]:
    """Names of the seeds for which something does not hold."""
    failed = []
    for seed, data in seeds.items():
        try:
            check(data)
        except Exception:
            failed.append(seed)
    return failed


Plant = Callable[[pytest.MonkeyPatch], Any]


def _trailing_bytes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_wire.Reader, "at_end", True)


def _any_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(envelope, "_check_context", lambda entries: None)


def _nothing_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(envelope, "_header", lambda record, wrapped: b"")


def _any_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(keystore_row, "compare_digest", lambda one, other: True)


def _other_error(patch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise KeyError("no such thing")

    patch.setattr(envelope, "_check_recipient", fail)


def _any_size(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(zstd_frame, "_check_size", lambda size, length, limit: None)


def _any_header(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(zstd_frame, "_check_header", lambda frame, size: None)


def _uncounted(patch: pytest.MonkeyPatch) -> None:
    whole = zstd_frame.decompress
    patch.setattr(zstd_frame, "decompress", lambda data, limit, take=None: whole(data, limit))


def _skipped_characters(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(protobuf_json, "_decode_standard", lambda text: b"")


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("record", _trailing_bytes),
        ("record", _any_order),
        ("record", _other_error),
        ("keystore_row", _trailing_bytes),
        ("keystore_row", _any_key),
        ("envelope", _nothing_bound),
        ("inner_payload", _any_size),
        ("inner_payload", _any_header),
        ("inner_payload", _uncounted),
        ("server_body", _skipped_characters),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__.strip("_"),
)
def test_a_planted_fault_is_found(name: str, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    target = load(name)
    seeds = target.seeds()
    plant(monkeypatch)
    envelope.parse_record.cache_clear()
    try:
        assert failures(target.check, seeds) != []
    finally:
        envelope.parse_record.cache_clear()
        server_body._apps.cache_clear()  # the application may have taken harm


@pytest.mark.parametrize("name", ["key_uri", "store_url"])
def test_a_password_in_an_error_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = load(name)
    module = __import__(f"tests.fuzz.targets.{name}", fromlist=["PASSWORD"])

    def tell(text: str) -> Any:
        raise ConfigurationError(f"{text} is wrong")

    for place in ("master_key", "_parse_store", "parse_keystore_url"):
        monkeypatch.setattr(module, place, tell, raising=False)
    monkeypatch.setattr(module, "_import_all", lambda: None)
    with pytest.raises(AssertionError, match="password"):
        target.check(f"redis://user:{module.PASSWORD}@host".encode())


def test_what_asks_a_network_is_found() -> None:
    import socket

    from tests.fuzz.watch import reading_only

    with pytest.raises(AssertionError, match="socket"), reading_only(), socket.socket() as one:
        one.connect_ex(("127.0.0.1", 1))


def test_any_bytes_are_sections_and_their_form_is_kept() -> None:
    data = join(7, b"a", b"", b"ccc")
    found = Sections(data)
    assert (found.flags, found.all, found[9]) == (7, [b"a", b"", b"ccc"], b"")
    assert join(found.flags, *found.all) == data
    assert Sections(b"").all == []
    assert Sections(data[:-1])[2] == b"cc"
