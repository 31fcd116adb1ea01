"""Metrics in the meter of Temporal's SDK, which appear where the SDK's own do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from envelope_codec.metrics.instruments import INSTRUMENTS, Instrument, label_name
from envelope_codec.metrics.labels import KeyIds, Labels
from envelope_codec.metrics.measurements import measure
from envelope_codec.metrics.samples import Series
from envelope_codec.metrics.watch import GaugeTimer, Watch, Watched
from envelope_codec.observe import Event, LogObserver

if TYPE_CHECKING:
    import temporalio.common

Tell = Callable[[Any, Mapping[str, str]], object]


class TemporalMetrics:
    """An observer that keeps metrics in a meter of Temporal's SDK, such as ``runtime.metric_meter``.

    Names and attributes are spelled as in Prometheus: the SDK's Prometheus endpoint drops what has a dot in its name.

    Args:
        meter: of the runtime whose client is used.
        key_ids: how master keys are named, ``plain`` or ``hashed``; if None, as the setting ``metrics_key_ids`` says.
        counters_total_suffix: what the runtime's ``PrometheusConfig`` has under this name. If it is True, the SDK adds
            ``_total`` to counters itself.
    """

    def __init__(
        self,
        meter: temporalio.common.MetricMeter,
        *,
        key_ids: KeyIds | None = None,
        counters_total_suffix: bool = False,
    ) -> None:
        self._labels = Labels(key_ids)
        self._told: dict[str, Tell] = {
            instrument.name: _make(meter, instrument, bare=counters_total_suffix) for instrument in INSTRUMENTS
        }
        self._watch = Watch(self._labels)
        self._timer = GaugeTimer(self._watch, self._set_gauge)
        self._log = LogObserver()

    def name_keys(self, key_ids: KeyIds) -> None:
        """Name master keys like this, unless the constructor was told otherwise."""
        self._labels.name_keys(key_ids)

    def watch_keyring(self, keyring: Watched) -> None:
        """Set gauges from the status of ``keyring``, from its first event until it is closed."""
        self._watch.add(keyring)

    def on_event(self, event: Event) -> None:
        """Count ``event`` in the instruments, and log it as `LogObserver` does."""
        self._log.on_event(event)
        if event.operation == "close":
            self._timer.update()
            return
        for instrument, value, attributes in measure(event, self._labels):
            self._told[instrument](value, {label_name(name): text for name, text in attributes.items()})
        self._timer.begin()

    def _set_gauge(self, series: Series, value: float) -> None:
        instrument, attributes = series
        self._told[instrument](value, {label_name(name): text for name, text in attributes})


def _make(meter: temporalio.common.MetricMeter, instrument: Instrument, *, bare: bool) -> Tell:
    """Make the instrument. It gets no unit: the SDK would add one to a name that has it."""
    name = instrument.prometheus
    if instrument.kind == "counter":
        return meter.create_counter(name.removesuffix("_total") if bare else name, instrument.meaning).add
    if instrument.kind == "histogram":
        return meter.create_histogram_float(name, instrument.meaning).record
    return meter.create_gauge_float(name, instrument.meaning).set
