"""What the page says about this library beside others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.side_by_side.documents import BATCH_NAME, SIZES
from benchmarks.side_by_side.latency import LATENCIES, PHASES
from benchmarks.side_by_side.own import OURS, PER_PAYLOAD, STATIC
from benchmarks.side_by_side.tables import NONE, cell, figure, prose, ranged, table, time_of

Rows = Sequence[Mapping[str, Any]]

_TIME = """
Each cell: processor time of a call (the median of the rounds), and below it the multiple of the static key's time in
the same round (median, quartiles). So a multiple need not be the quotient of the two times shown. The KMS takes no
time.
"""
_TIME_SAYS = """
Where we are slower: than a static key, at small payloads by a multiple. Ours makes a data key for each payload, wraps
it, derives a cipher key that binds all metadata, and checks a commitment before it decrypts. A static key does none of
that. *Cryptography alone* shows how much of the difference that is, with no check and no key cache around it: our own
code can't be quicker than that. Where a bar above is under it, this machine can't hold the bar. The difference is a
constant of some ten microseconds, so it fades as payloads grow. A second recipient costs bytes, and no time. `direct`
calls the KMS for each payload, as do Tink and a KMS call a payload: a call of boto3 costs about a millisecond of
processor time, even if the network took none.
"""
_LATENCY = """
Milliseconds of wall-clock time for payloads of 1 KiB, medians (quartiles), where each KMS call takes 0, 5 and 20 ms.
*First* is with a codec that has no key yet; the others follow it. A batch is 50 payloads in one call.
"""
_LATENCY_SAYS = """
Where we are slower: our first encode waits for two KMS calls, one after the other, since a new wrapping key is
unwrapped once before it is used, and with two recipients for four. A worker makes these calls before it polls. Whoever
asks the KMS for each payload pays its latency each time; whoever keeps keys pays it once.
"""
_CALLS = """
One writer seals 10,000 payloads of 1 KiB, and one reader opens them, both with nothing in their caches. *Once*
are calls that set up a key store. Overhead is how many bytes a sealed payload has more than the plain one, metadata
included.
"""
_CALLS_SAYS = """
Those that call the KMS for each payload were stopped early, and their calls scaled up. In AWS's own example of the
caching materials manager an entry serves 100 messages, which makes 100 calls; here it has our limits. Of our two calls
to seal one wraps a wrapping key, and one checks that it opens. Where we are larger: an envelope carries the record of
its wrapping key, and its metadata by name.
"""
_MEMORY = """
How many copies of a payload of 20 MB are there at the peak: the caller's own is one, the result another. It is resident
memory, of a process for each. There glibc gives large blocks back at once (`MALLOC_MMAP_THRESHOLD_=1048576`): by
itself it keeps some that were freed, and they would count.
"""


def time(result: Mapping[str, Any]) -> str:
    """Processor time, as multiples of a static key and of this library."""
    rows = result["rows"]
    parts = [
        prose(_TIME),
        "![Processor time to encode and decode 1 KiB](benchmarks-time.svg)",
        "**Encode**",
        _times(rows, "encode"),
        "**Decode**, by a codec that has its keys and has not seen these payloads",
        _times(rows, "decode"),
        "**As multiples of this library's time** (below 1 is faster than we are)",
        _of_ours(rows),
        prose(_TIME_SAYS),
    ]
    return "\n\n".join(parts)


def _times(rows: Rows, operation: str) -> str:
    sizes = [*SIZES, BATCH_NAME]
    lines = []
    for name in _names(rows):
        found = {row["size"]: row for row in rows if row["entrant"] == name and row["operation"] == operation}
        lines.append([name, *(_time_cell(found[size]) if size in found else NONE for size in sizes)])
    return table(["", *sizes], lines)


def _time_cell(row: Mapping[str, Any]) -> str:
    return f"{time_of(row['microseconds'])}<br>{ranged(row, 'of_static', times=True)}"


def _of_ours(rows: Rows) -> str:
    columns = [(size, operation) for size in ("1 KiB", "64 KiB", "1 MiB") for operation in ("encode", "decode")]
    lines = []
    for name in _names(rows):
        found = {(row["size"], row["operation"]): row for row in rows if row["entrant"] == name}
        cells = (figure(found[column]["of_ours"]) if column in found else NONE for column in columns)
        lines.append([name, *cells])
    return table(["", *(f"{size}, {operation}" for size, operation in columns)], lines)


def headline(result: Mapping[str, Any]) -> str:
    """Return the few figures of processor time that stand in the README."""
    names = (STATIC, OURS, "AWS Encryption SDK, caching", PER_PAYLOAD)
    lines = []
    for size in ("100 B", "1 KiB", "64 KiB", "1 MiB"):
        for operation in ("encode", "decode"):
            found = {
                row["entrant"]: row
                for row in result["rows"]
                if row["size"] == size and row["operation"] == operation and row["entrant"] in names
            }
            cells = [_headline_cell(found[name]) if name in found else NONE for name in names]
            lines.append([f"{operation} {size}", *cells])
    return table(["", *names], lines)


def _headline_cell(row: Mapping[str, Any]) -> str:
    ratio = "" if row["entrant"] == STATIC else f", ×{figure(row['of_static'])}"
    return f"{time_of(row['microseconds'])}{ratio}"


def latency(result: Mapping[str, Any]) -> str:
    """Milliseconds of wall-clock time, where each KMS call takes its time."""
    parts = [prose(_LATENCY), "![Time to encode a payload, by what a KMS call takes](benchmarks-latency.svg)"]
    for milliseconds in LATENCIES:
        found = [row for row in result["rows"] if row["latency_ms"] == milliseconds]
        lines = [[row["entrant"], *(ranged(row, phase) for phase in PHASES)] for row in found]
        parts += [f"**KMS of {milliseconds} ms**", table(["", *PHASES], lines)]
    return "\n\n".join([*parts, prose(_LATENCY_SAYS)])


def calls(result: Mapping[str, Any]) -> str:
    """KMS calls for 10,000 payloads, and bytes that a sealed payload is larger."""
    fields = ("writer", "reader", "once", "overhead_bytes")
    lines = [[row["entrant"], *(cell(row[field]) for field in fields)] for row in result["rows"]]
    head = ["", "calls to seal", "calls to open", "once", "overhead, bytes"]
    return "\n\n".join([prose(_CALLS), table(head, lines), prose(_CALLS_SAYS)])


def memory(result: Mapping[str, Any]) -> str:
    """Peak memory, in copies of a payload of 20 MB."""
    lines = [[row["entrant"], figure(row["encode"]), figure(row["decode"])] for row in result["rows"]]
    return "\n\n".join([prose(_MEMORY), table(["", "encode", "decode"], lines)])


def peers(result: Mapping[str, Any]) -> str:
    """Who is compared, and how each is set up."""
    lines = []
    for entrant in result["entrants"]:
        source = f" ([source]({entrant['source']}))" if entrant["source"] else ""
        lines.append([entrant["name"], entrant["setup"] + source])
    for name, reason in result["missing"].items():
        lines.append([name, f"not measured in this run: {reason}"])
    return table(["", "set up as"], lines, numbers=False)


def _names(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["entrant"] for row in rows))
