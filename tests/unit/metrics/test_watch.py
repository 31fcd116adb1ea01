"""Which keyrings gauges are set from, and when."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.keys.status import KeyringStatus, LeaseStatus, SealingKeyStatus
from envelope_codec.metrics.labels import Labels
from envelope_codec.metrics.samples import Series, take_samples
from envelope_codec.metrics.watch import SECONDS, GaugeTimer, Watch, Watched
from envelope_codec.observe import Event, LogObserver
from envelope_codec.testing import FakeKms
from tests.support.forked_child import in_child
from tests.support.keyring_on_fakes import Ring

CACHED = ("envelope_codec.keys.cached", ())


class Gauges(LogObserver):
    """An observer that takes down what a meter would be told."""

    def __init__(self) -> None:
        super().__init__()
        self.watch = Watch(Labels())
        self.told: list[tuple[Series, float]] = []
        self.timer = GaugeTimer(self.watch, lambda series, value: self.told.append((series, value)))

    def watch_keyring(self, keyring: Watched) -> None:
        self.watch.add(keyring)

    def on_event(self, event: Event) -> None:
        self.timer.begin()

    @property
    def looks(self) -> int:
        return sum(series == CACHED for series, _ in self.told)


def status(*keys: SealingKeyStatus, leases: tuple[LeaseStatus, ...] = (), cached: int = 0) -> KeyringStatus:
    return KeyringStatus(0.0, False, False, keys, leases, (), cached, 0, 0, 0.0)


async def test_nothing_is_set_before_the_first_event_and_then_every_few_seconds_until_it_is_closed() -> None:
    gauges = Gauges()
    ring = Ring(observer=gauges)
    ring.advance(100.0)
    assert gauges.looks == 0
    await ring.seal()
    ring.advance(0.0)
    assert gauges.looks == 1
    for _ in range(4):
        ring.advance(SECONDS)
    assert gauges.looks == 5
    ring.keyring.close()
    ring.advance(10 * SECONDS)
    assert gauges.looks == 5


async def test_one_timer_serves_a_keyring_however_many_events_there_are() -> None:
    gauges = Gauges()
    ring = Ring(observer=gauges)
    for _ in range(20):
        gauges.on_event(Event("seal", "ok", "default"))
    ring.advance(0.0)
    assert gauges.looks == 1


async def test_a_series_that_is_gone_gets_a_last_value_of_0() -> None:
    gauges = Gauges()
    ring = Ring(observer=gauges)
    await ring.seal()
    ring.advance(0.0)
    lease = [series for series, _ in gauges.told if series[0] == "envelope_codec.lease.since_success"]
    assert len(lease) == 1
    for _ in range(120):  # it is renewed once after its use, and then runs out
        ring.advance(SECONDS)
    values = [value for series, value in gauges.told if series == lease[0]]
    assert values[-1] == 0.0
    assert values[-2] == pytest.approx(295.0)


async def test_a_keyring_that_was_closed_is_freed_though_it_was_watched() -> None:
    gauges = Gauges()
    before = set(threading.enumerate())
    keyring = EnvelopeConfig(key=FakeKms()).keyring(observer=gauges)
    await keyring.sealing_key("default")
    gone = weakref.ref(keyring)
    keyring.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(60.0)
    del keyring
    gc.collect()
    assert gone() is None
    assert gauges.watch.living() == []


async def test_a_forked_child_begins_anew() -> None:
    gauges = Gauges()
    ring = Ring(observer=gauges)
    await ring.seal()
    ring.advance(SECONDS)

    def child() -> int:
        before = gauges.looks
        gauges.timer.begin()
        ring.advance(0.0)
        return gauges.looks - before

    assert in_child(child) == 1


async def test_a_meter_that_fails_is_told_again(caplog: pytest.LogCaptureFixture) -> None:
    gauges = Gauges()
    ring = Ring(observer=gauges)
    failing = GaugeTimer(gauges.watch, lambda series, value: [].pop())
    failing.begin()
    ring.advance(0.0)
    assert "gauges can't be set" in caplog.text
    caplog.clear()
    ring.advance(SECONDS)
    assert "gauges can't be set" in caplog.text


def test_keyrings_are_told_together() -> None:
    old = SealingKeyStatus("default", "k", "id", 100.0, 7, 2, 0, True, False)
    young = old._replace(age=10.0, uses=9, recipients=1, lacking=1)
    grace = LeaseStatus("unwrap", "k", "default", "grace", 400.0, 50.0, 300.0, 1)
    live = grace._replace(stage="live", since_success=10.0, grace_left=0.0)
    idle = grace._replace(key_id="idle", stage="idle")
    none = old._replace(key_id="none", record_id="")
    samples = take_samples(
        [status(old, none, leases=(grace, idle), cached=2), status(young, leases=(live,), cached=3)], Labels()
    )
    values = {(name.partition(".")[2], dict(where).get("key.id")): value for (name, where), value in samples.items()}
    assert values["keys.cached", None] == 5
    assert values["sealing_key.age", "k"] == 100.0
    assert values["sealing_key.uses", "k"] == 9
    assert values["sealing_key.recipients", "k"] == 1
    assert values["sealing_key.recipients_lacking", "k"] == 1
    assert values["lease.since_success", "k"] == 400.0
    assert values["lease.grace_left", "k"] == 50.0
    assert not any(key in ("idle", "none") for _, key in values)
