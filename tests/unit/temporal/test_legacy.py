"""Codecs from before: they open what they sealed, one payload at a time, and nothing they say gets out."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from temporalio.exceptions import ApplicationError

from envelope_codec import ConfigurationError, EncryptionRequired, EnvelopeConfig, EnvelopePlugin, InvalidCiphertext
from envelope_codec.observe import Event
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"text"')


class Reversing(PayloadCodec):
    """Seals by reversing: what matters is who is asked to open what."""

    def __init__(self, encoding: bytes = b"reversed") -> None:
        self.encoding = encoding

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(metadata={"encoding": self.encoding}, data=p.SerializeToString()[::-1]) for p in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload.FromString(p.data[::-1]) if p.metadata.get("encoding") == self.encoding else p for p in payloads
        ]


class Failing(PayloadCodec):
    def __init__(self, error: Exception) -> None:
        self._error = error

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise AssertionError("a legacy codec seals nothing")

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise self._error


class Mangling(Failing):
    """Changes what it is given, and returns the wrong count."""

    def __init__(self) -> None:
        super().__init__(AssertionError())

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        for payload in payloads:
            payload.Clear()
        return []


class Keyed(Reversing, WithSerializationContext):
    """Opens what was sealed for its workflow only."""

    def with_context(self, context: SerializationContext) -> Keyed:
        if not isinstance(context, WorkflowSerializationContext) or not context.workflow_id:
            return self
        return Keyed(context.workflow_id.encode())


class Counts:
    def __init__(self) -> None:
        self.payloads: Counter[str] = Counter()

    def on_event(self, event: Event) -> None:
        self.payloads[f"{event.operation} {event.outcome}"] += event.payloads


def codec(*legacy: Any, observer: Any = None, **settings: Any) -> EnvelopeCodec:
    return EnvelopeCodec(EnvelopeConfig(key=FakeKms(), legacy_codecs=legacy, **settings), observer=observer)


async def test_each_payload_is_opened_by_whom_it_concerns_and_counted() -> None:
    counts, old, older = Counts(), Reversing(), Reversing(b"reversed before")
    ours = codec(old, older, observer=counts)
    payloads = [*await old.encode([PLAIN]), PLAIN, *await older.encode([PLAIN]), *await ours.encode([PLAIN])]
    before = [Payload.FromString(payload.SerializeToString()) for payload in payloads]
    assert await ours.decode(payloads) == [PLAIN] * 4
    assert payloads == before
    counted = {name: number for name, number in counts.payloads.items() if number}
    assert counted == {"seal ok": 1, "open ok": 1, "legacy ok": 2, "pass ok": 1}


async def test_what_a_legacy_codec_opens_is_encrypted_enough_and_plaintext_is_not() -> None:
    old = Reversing()
    strict = codec(old, require_encryption=True)
    assert await strict.decode(await old.encode([PLAIN])) == [PLAIN]
    with pytest.raises(EncryptionRequired):
        await strict.decode([PLAIN])


@pytest.mark.parametrize(
    "legacy",
    [Failing(ValueError("arn:secret")), Failing(ApplicationError("secret", non_retryable=True)), Mangling()],
    ids=["error", "temporal's failure", "wrong count"],
)
async def test_what_goes_wrong_in_a_legacy_codec_is_told_to_the_log_alone(
    legacy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    payload = Payload.FromString(PLAIN.SerializeToString())
    with caplog.at_level(logging.WARNING), pytest.raises(InvalidCiphertext) as caught:
        await codec(legacy).decode([payload])
    assert str(caught.value) == "a legacy codec could not open the payload"
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert payload == PLAIN
    assert type(legacy).__name__ in caplog.text


async def test_a_codec_that_knows_nothing_of_a_payload_does_not_hide_it_from_the_next() -> None:
    old = Reversing()
    assert await codec(Failing(ValueError("another key")), old).decode(await old.encode([PLAIN])) == [PLAIN]


async def test_legacy_codecs_get_the_context() -> None:
    ours = codec(Keyed(), Reversing())
    sealed = await Keyed(b"workflow 1").encode([PLAIN])
    one, other = (
        ours.with_context(WorkflowSerializationContext(namespace="default", workflow_id=f"workflow {number}"))
        for number in (1, 2)
    )
    assert await one.decode(sealed) == [PLAIN]
    assert await other.decode(sealed) == sealed
    same = codec(Reversing())
    context = WorkflowSerializationContext(namespace="default", workflow_id="workflow 1")
    assert same.with_context(context) is same.with_context(context)


async def test_legacy_codecs_are_named_by_text_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_before.py").write_text(
        "from temporalio.converter import PayloadCodec\n"
        "class Codec(PayloadCodec):\n"
        "    async def encode(self, payloads): return list(payloads)\n"
        "    async def decode(self, payloads): return list(payloads)\n"
        "class here:\n"
        "    instance = Codec()\n"
        "number = int\n"
        "def broken(): raise RuntimeError('no key')\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "envelope.toml").write_text(
        'key = "localfile:///nowhere"\nlegacy_codecs = ["made_before:Codec", "made_before:here.instance"]\n', "utf-8"
    )
    monkeypatch.setattr("envelope_codec.keys.key_sets.master_key", lambda uri: FakeKms())
    config = EnvelopeConfig.from_file(tmp_path / "envelope.toml")
    with EnvelopePlugin(config) as plugin:
        import made_before  # type: ignore[import-not-found]

        assert [type(one) for one in plugin.config.legacy_codecs] == [made_before.Codec] * 2
        assert plugin.config.legacy_codecs[1] is made_before.here.instance
    for text, said in {
        "made_before:missing": "AttributeError",
        "made_before:number": "is no PayloadCodec, and makes none",
        "made_before:broken": "RuntimeError: no key",
        "made_nowhere:Codec": "ModuleNotFoundError",
    }.items():
        with pytest.raises(ConfigurationError, match=f"legacy_codecs: '{text}' .*{said}"):
            EnvelopePlugin(FakeKms(), legacy_codecs=[text])
    sys.modules.pop("made_before")


@pytest.mark.parametrize("given", ["no colon", "a b:c", 7, Reversing, None])
def test_what_is_no_codec_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"legacy_codecs\.0"):
        EnvelopeConfig(key=FakeKms(), legacy_codecs=[given])
