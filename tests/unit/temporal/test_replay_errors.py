"""Errors are collected for tasks that begin within the block, and for no others."""

from __future__ import annotations

import asyncio

from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeConfig, InvalidCiphertext, KeyDenied
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.replay_errors import collect_errors, note_error
from envelope_codec.testing import FakeKms


async def test_tasks_that_begin_within_the_block_report_for_as_long_as_they_run() -> None:
    async def work(text: str) -> None:
        await begun.wait()
        note_error(KeyDenied(text))

    begun = asyncio.Event()
    before = asyncio.ensure_future(work("before"))
    with collect_errors() as errors:
        within = asyncio.ensure_future(work("within"))
    after = asyncio.ensure_future(work("after"))
    begun.set()
    await asyncio.gather(before, within, after)
    assert [str(error) for error in errors] == ["within"]


async def test_a_codec_that_can_not_open_reports() -> None:
    codec = EnvelopeCodec(EnvelopeConfig(key=FakeKms()))
    [sealed] = await codec.encode([Payload(data=b"x")])
    sealed.data = sealed.data[:-1] + bytes([sealed.data[-1] ^ 1])
    with collect_errors() as errors:
        try:
            await codec.decode([sealed])
        except InvalidCiphertext as error:
            raised = error
    assert [type(error) for error in errors] == [InvalidCiphertext]
    assert errors[0] is not raised
    assert errors[0].__traceback__ is None
    codec.close()
