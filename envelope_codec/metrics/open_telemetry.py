"""Metrics in a meter of OpenTelemetry."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from envelope_codec.metrics.instruments import INSTRUMENTS, SECONDS, Instrument
from envelope_codec.metrics.labels import KeyIds, Labels
from envelope_codec.metrics.measurements import measure
from envelope_codec.metrics.samples import Series
from envelope_codec.metrics.watch import Watch, Watched
from envelope_codec.observe import Event, LogObserver

if TYPE_CHECKING:
    import opentelemetry.metrics

_FRESH = 0.05  # seconds; a reader asks for one gauge after another, and all are read from one look at the keyrings


class OpenTelemetryMetrics:
    """An observer that keeps metrics in a meter of OpenTelemetry.

    Gauges are read from keyrings whenever a reader collects.

    Args:
        meter: such as ``opentelemetry.metrics.get_meter("envelope_codec")``.
        key_ids: how master keys are named, ``plain`` or ``hashed``; if None, as the setting ``metrics_key_ids`` says.
    """

    def __init__(self, meter: opentelemetry.metrics.Meter, *, key_ids: KeyIds | None = None) -> None:
        self._labels = Labels(key_ids)
        self._watch = Watch(self._labels)
        self._log = LogObserver()
        looks = _Looks(self._watch)
        self._told: dict[str, Callable[[Any, Mapping[str, str]], object]] = {}
        for instrument in INSTRUMENTS:
            if instrument.kind == "counter":
                counter = meter.create_counter(instrument.name, instrument.unit, instrument.meaning)
                self._told[instrument.name] = counter.add
            elif instrument.kind == "histogram":
                self._told[instrument.name] = _histogram(meter, instrument).record
            else:
                read = looks.reader(instrument.name)
                meter.create_observable_gauge(instrument.name, [read], instrument.unit, instrument.meaning)

    def name_keys(self, key_ids: KeyIds) -> None:
        """Name master keys like this, unless the constructor was told otherwise."""
        self._labels.name_keys(key_ids)

    def watch_keyring(self, keyring: Watched) -> None:
        """Read gauges from the status of ``keyring`` as long as it lives."""
        self._watch.add(keyring)

    def on_event(self, event: Event) -> None:
        """Count ``event`` in the instruments, and log it as `LogObserver` does."""
        self._log.on_event(event)
        for instrument, value, attributes in measure(event, self._labels):
            self._told[instrument](value, attributes)


def _histogram(meter: opentelemetry.metrics.Meter, instrument: Instrument) -> Any:
    return meter.create_histogram(
        instrument.name, instrument.unit, instrument.meaning, explicit_bucket_boundaries_advisory=SECONDS
    )


class _Looks:
    """The last look at the keyrings. It holds no keyring, as the meter holds it for good."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._at = -_FRESH
        self._samples: dict[Series, float] = {}

    def reader(self, instrument: str) -> Callable[[Any], Iterable[opentelemetry.metrics.Observation]]:
        """Return what a meter calls for the values of one gauge."""
        from opentelemetry.metrics import Observation

        def read(options: Any) -> Iterable[opentelemetry.metrics.Observation]:
            return [
                Observation(value, dict(attributes))
                for (name, attributes), value in self._look().items()
                if name == instrument
            ]

        return read

    def _look(self) -> dict[Series, float]:
        now = time.monotonic()
        if now - self._at >= _FRESH:
            self._samples, self._at = self._watch.samples(), now
        return self._samples
