"""The text in which Prometheus is told metrics, of those that this project keeps, within bounds.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MOST_SERIES = 10_000
"""What comes after so many series of this project is left out, and counted."""

_LONGEST_LINE = 8_192
_LONGEST_VALUE = 600  # characters of a label: a key id has at most 512
_MOST_LABELS = 32

_OURS = ("envelope_codec_", "http_server_request_duration")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,|\})')
_ESCAPE = re.compile(r"\\(.)")
_OF_HISTOGRAM = ("bucket", "sum", "count")
_UNITS = ("_seconds", "_s")

Labels = frozenset[tuple[str, str]]


@dataclass
class Exposition:
    """What one endpoint told.

    Attributes:
        series: values by plain name and labels. A plain name has no suffix for its unit, and no ``_total``: exporters
            differ in these. What belongs to a histogram ends in ``_bucket``, ``_sum`` or ``_count``.
        malformed: how many lines are none of that format.
        left_out: how many series were too many.
    """

    series: dict[str, dict[Labels, float]] = field(default_factory=dict)
    malformed: int = 0
    left_out: int = 0

    def of(self, name: str) -> Mapping[Labels, float]:
        """Return the series of a plain name."""
        return self.series.get(name, {})


def parse(text: str) -> Exposition:
    """Read ``text``, whatever is in it. Metrics of others are passed over."""
    found, kept = Exposition(), 0
    for line in _lines(text):
        if not line.startswith(_OURS):
            found.malformed += not (line.startswith("#") or _NAME.match(line))
            continue
        sample = _parse_sample(line)
        if sample is None:
            found.malformed += 1
        elif kept >= MOST_SERIES:
            found.left_out += 1
        elif sample[0]:
            name, labels, value = sample
            same = found.series.setdefault(name, {})
            kept += labels not in same
            same[labels] = value
    return found


def plain_name(name: str) -> str:
    """Return ``name`` without the suffixes in which exporters differ; ``""`` for what is no metric of its own."""
    plain, _, kind = name.rpartition("_")
    if kind == "created":
        return ""
    if kind not in (*_OF_HISTOGRAM, "total"):
        plain, kind = name, ""
    for unit in _UNITS:
        plain = plain.removesuffix(unit)
    plain = plain.rstrip("_")
    return f"{plain}_{kind}" if kind in _OF_HISTOGRAM else plain


def _lines(text: str) -> Iterator[str]:
    begin = 0
    while begin < len(text):  # no list of all lines, which would take many times the memory of the text
        end = text.find("\n", begin)
        end = len(text) if end < 0 else end
        line = text[begin : min(end, begin + _LONGEST_LINE + 1)].strip()
        begin = end + 1
        if line:
            yield line


def _parse_sample(line: str) -> tuple[str, Labels, float] | None:
    match = _NAME.match(line)
    if match is None or len(line) > _LONGEST_LINE:
        return None
    rest, labels = line[match.end() :], dict[str, str]()
    if rest.startswith("{"):
        position, ended = 1, rest[1:].lstrip().startswith("}")
        if ended:
            position = rest.index("}") + 1
        while not ended:
            label = _LABEL.match(rest, position)
            if label is None or len(labels) >= _MOST_LABELS:
                return None
            labels[label[1]] = _unescape(label[2])[:_LONGEST_VALUE]
            position, ended = label.end(), label[3] == "}"
            if not ended and rest[position:].lstrip().startswith("}"):  # a comma may be the last
                position, ended = rest.index("}", position) + 1, True
        rest = rest[position:]
    value = _parse_value(rest)
    if value is None:
        return None
    # A label without a value is the same as none.
    return plain_name(match[0]), frozenset((name, text) for name, text in labels.items() if text), value


def _parse_value(text: str) -> float | None:
    words = text.partition("#")[0].split()  # exemplars of OpenMetrics come after it
    if not 1 <= len(words) <= 2:  # the second is a time
        return None
    try:
        value = float(words[0])
    except ValueError:
        return None
    return None if value != value else value


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], text)
