"""What the demo prints."""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone

from rich.console import Console
from rich.text import Text
from temporalio.api.common.v1 import Payload

from envelope_codec.cli.demo.workflow import Customer
from envelope_codec.envelope import NAME_ENCODING, NAME_KEY_ID, Record

WIDTH = 100
"""No line is longer, in characters."""

_STEP = 25
_LABEL = 23
_DUMPED = 64


class Report:
    """Progress lines and findings on standard output: plain text where that is no terminal."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._width = min(self._console.width, WIDTH) if self._console.is_terminal else WIDTH

    @contextmanager
    def step(self, doing: str) -> Iterator[Callable[[str], None]]:
        """A line for something that takes time. The caller gets a function that adds a remark to the line."""
        begun, remarks = time.monotonic(), [""]
        with self._console.status(doing, spinner="line"):
            yield remarks.append
        seconds = f"{time.monotonic() - begun:5.1f} s"
        room = max(20, self._width - _STEP - len(seconds) - 1)
        for number, part in enumerate(_folded(remarks[-1], room)):
            self._print(f"{'' if number else doing:{_STEP}}{part:{room}} {'' if number else seconds}")

    def seen(self, customer: Customer, result: str) -> None:
        """What went in and came out, as the workflow saw it."""
        self._heading("What the workflow saw")
        self._facts({"input": json.dumps(asdict(customer)), "result": result})

    def stored(self, payload: Payload) -> None:
        """What the server has of the workflow's input."""
        self._heading("What Temporal stored for the same input, fetched back from history without the plugin")
        shown = {
            name: value.decode() if name in (NAME_ENCODING, NAME_KEY_ID) else f"{len(value)} bytes"
            for name, value in sorted(payload.metadata.items())
        }
        dump = "\n".join(_hexdump(payload.data[:_DUMPED]))
        self._facts({**shown, "data": f"{len(payload.data)} bytes, which begin:\n{dump}"})

    def header(self, record: Record) -> None:
        """What the envelope says of itself."""
        self._heading("The decoded envelope header")
        created = datetime.fromtimestamp(record.created, timezone.utc)
        facts = {
            "record id": record.id.hex(),
            "purpose": record.purpose.name.lower().replace("_", " "),
            "created": f"{created:%Y-%m-%d %H:%M:%S} UTC",
            "context": ", ".join(f"{name} = {value}" for name, value in record.context),
        }
        for number, recipient in enumerate(record.recipients, 1):
            facts |= {
                f"recipient {number} key id": recipient.key_id,
                f"recipient {number} version": recipient.key_version or "(the KMS does not tell)",
                f"recipient {number} wrapped": f"{len(recipient.ciphertext)} bytes",
            }
        self._facts(facts)

    def calls(self, counts: Mapping[tuple[str, str], int]) -> None:
        """What it took; ``counts`` are events by operation and outcome."""
        self._heading("How many KMS calls it took")
        wraps, unwraps, sealed = counts["wrap", "ok"], counts["unwrap", "ok"], counts["seal", "ok"]
        calls = wraps + unwraps
        facts = {
            "payloads": f"{sealed} sealed, {counts['open', 'ok']} opened",
            "KMS calls": f"{calls} ({wraps} wrap, {unwraps} unwrap; one checks a new wrapping key before it seals)",
            "ratio": f"{sealed // max(1, calls)} payloads for each KMS call",
        }
        failures = sum(count for (_, outcome), count in counts.items() if outcome != "ok")
        self._facts({**facts, "failures": str(failures)} if failures else facts)

    def search(self, places: Mapping[str, set[str]]) -> None:
        """Where plaintext was looked for, and what was found there."""
        self._heading("The search for plaintext: name, e-mail address and passport, as text and as base64")
        self._facts(
            {place: f"FOUND: {', '.join(sorted(found))}" if found else "not found" for place, found in places.items()}
        )

    def verdict(self, clean: bool) -> None:
        """The last line."""
        self._print()
        self._print("No plaintext was found." if clean else "PLAINTEXT WAS FOUND.", "green" if clean else "bold red")

    def _heading(self, text: str) -> None:
        self._print()
        self._print(text, "bold")

    def _facts(self, facts: Mapping[str, str]) -> None:
        room = max(20, self._width - 2 - _LABEL)
        for label, fact in facts.items():
            parts = [part for line in fact.splitlines() for part in _folded(line, room)]
            for number, part in enumerate(parts):
                self._print(f"  {'' if number else label:{_LABEL}}{part}")

    def _print(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(text.rstrip(), style), soft_wrap=True)


def _folded(line: str, room: int) -> list[str]:
    """``line`` in pieces no longer than ``room``; its own spaces are kept where it fits."""
    return [line] if len(line) <= room else textwrap.wrap(line, room, break_on_hyphens=False)


def _hexdump(data: bytes) -> Iterator[str]:
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{offset:04x}  {row[:8].hex(' '):23}  {row[8:].hex(' '):23}  |{text}|"
