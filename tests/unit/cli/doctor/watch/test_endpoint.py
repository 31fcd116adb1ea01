"""An endpoint that is watched."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from envelope_codec.cli.doctor.watch import endpoint as module
from envelope_codec.cli.doctor.watch.endpoint import Endpoint
from envelope_codec.cli.doctor.watch.scrape import ScrapeFailed, parse_address
from tests.support.told_metrics import endpoint, series


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def told(number: float) -> str:
    return series("payloads_total", number, operation="seal")


def rise(one: Endpoint) -> tuple[float, float]:
    change = one.change
    assert change is not None
    ((_, increase),) = change.increases("envelope_codec_payloads")
    return increase, change.seconds


async def test_what_changed_is_that_of_the_last_minute() -> None:
    clock = Clock()
    one = endpoint(*(told(number) for number in range(0, 10_000, 10)), clock=clock)
    assert one.change is None
    await one.tell()
    assert rise(one) == (0, 0)
    for now in range(1, 301):
        clock.now = float(now)
        await one.tell()
    increase, seconds = rise(one)
    assert increase == 10 * seconds
    assert module.WINDOW <= seconds <= module.WINDOW * 1.2
    assert len(one._told) < 30


async def test_what_can_not_be_asked_says_why_and_its_counters_go_on_after_that() -> None:
    clock = Clock()
    one = endpoint(told(1), ScrapeFailed("answers with status 403"), told(5), "nothing 1\n", clock=clock)
    await one.tell()
    await one.tell()
    assert (one.trouble, one.change) == ("answers with status 403", None)
    clock.now = 10.0
    await one.tell()
    assert (one.trouble, rise(one)) == ("", (4, 10))
    await one.tell()
    assert one.trouble == "tells no metrics of envelope_codec"


async def test_an_unforeseen_error_is_no_end_of_the_watch() -> None:
    def ask(*_: Any) -> str:
        raise RuntimeError("marigold")

    one = Endpoint(parse_address("worker:9464"), ask)
    await one.tell()
    assert one.trouble == "could not be asked"


async def test_what_gives_no_answer_is_asked_once_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", -0.9)
    asked, answer = threading.Semaphore(0), threading.Event()

    def ask(*_: Any) -> str:
        asked.release()
        assert answer.wait(60)
        return told(1)

    one = Endpoint(parse_address("worker:9464"), ask)
    await one.tell()
    await one.tell()
    assert one.trouble == "gives no answer in time"
    assert asked.acquire(timeout=60)
    assert not asked.acquire(blocking=False)
    answer.set()
    assert one._asking is not None
    await asyncio.wrap_future(one._asking)
    await one.tell()
    assert one.trouble == ""


def test_people_read_where_it_is() -> None:
    one = endpoint(told(1), address="http://worker:9464")
    assert (one.name, one.url) == ("worker:9464", "http://worker:9464/metrics")
