"""The recording of a worker's metrics, as input series of ``promtool test rules``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_OURS = "envelope_codec_"
_LENGTHS = ("_age_seconds", "_since_success_seconds", "_grace_left_seconds", "_lag_seconds")
_LABELS = 'job="workers",instance="w1"'
_SDKS_OWN = ',service_name="temporal-core-sdk"'
_MISSING = "_"


class Recording:
    """What a worker told at equal intervals. Buckets of histograms are left out: no alert of a worker is about them.

    Args:
        factor: how many times as fast the worker's world ran, so that lengths of time are told as if it had not.
    """

    def __init__(self, factor: int) -> None:
        self._factor = factor
        self._series: dict[str, dict[int, str]] = {}
        self._count = 0

    def add(self, text: str) -> None:
        """Add what the worker told next."""
        for line in text.splitlines():
            series, _, value = line.rpartition(" ")
            if series.startswith(_OURS) and not _is_of_bucket(series):
                name, _, labels = series.partition("{")
                labels = labels.rstrip("}").replace(_SDKS_OWN.lstrip(","), "").strip(",")
                told = ",".join(part for part in (_LABELS, labels) if part).replace(",,", ",")
                self._series.setdefault(f"{name}{{{told}}}", {})[self._count] = self._spelled(name, float(value))
        self._count += 1

    def series(self) -> Mapping[str, str]:
        """Return the values of each series, as promtool takes them."""
        return {
            series: " ".join(_shortened([values.get(number, _MISSING) for number in range(self._count)]))
            for series, values in sorted(self._series.items())
        }

    def _spelled(self, name: str, value: float) -> str:
        return f"{value * self._factor if name.endswith(_LENGTHS) else value:.6g}"


def _is_of_bucket(series: str) -> bool:
    return any(f"{kind}{{" in series for kind in ("_bucket", "_sum", "_count"))


def _shortened(values: Sequence[str]) -> list[str]:
    """Write values that come again as ``7x3``, which is 7 and then three more."""
    found: list[str] = []
    for value in values:
        last, _, times = found[-1].partition("x") if found else ("", "", "")
        if value == last and value != _MISSING:
            found[-1] = f"{value}x{int(times or 0) + 1}"
        else:
            found.append(value)
    return found
