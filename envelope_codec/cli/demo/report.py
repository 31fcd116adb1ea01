"""What the demo prints."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone

from rich.text import Text
from temporalio.api.common.v1 import Payload

from envelope_codec.cli.demo.workflow import Customer
from envelope_codec.cli.output import fold, make_console, width_of
from envelope_codec.envelope import NAME_ENCODING, NAME_KEY_ID, Record

_STEP = 25
_LABEL = 23
_DUMPED = 64


class Report:
    """Standard output: a line for each step, then what was found."""

    def __init__(self) -> None:
        self._console = make_console(sys.stdout)
        self._width = width_of(self._console)

    @contextmanager
    def step(self, doing: str) -> Iterator[Callable[[str], None]]:
        """Print a line for a step that takes time. The caller gets a function that puts a remark into the line."""
        begun, remarks = time.monotonic(), [""]
        with self._console.status(doing, spinner="line"):
            yield remarks.append
        seconds = f"{time.monotonic() - begun:5.1f} s"
        room = max(20, self._width - _STEP - len(seconds) - 1)
        for number, part in enumerate(fold(remarks[-1], room, breaking_words=True)):
            self._print(f"{'' if number else doing:{_STEP}}{part:{room}} {'' if number else seconds}")

    def print_workflow(self, customer: Customer, result: str) -> None:
        """Print what the workflow was given and what it returned."""
        self.heading("What the workflow saw")
        self.facts({"input": json.dumps(asdict(customer)), "result": result})

    def print_stored(self, payload: Payload) -> None:
        """Print what the server has stored of the workflow's input."""
        self.heading("What Temporal stored for the same input, fetched back from history without the plugin")
        shown = {
            name: value.decode() if name in (NAME_ENCODING, NAME_KEY_ID) else f"{len(value)} bytes"
            for name, value in sorted(payload.metadata.items())
        }
        dump = "\n".join(_hexdump(payload.data[:_DUMPED]))
        self.facts({**shown, "data": f"{len(payload.data)} bytes, which begin:\n{dump}"})

    def print_header(self, record: Record) -> None:
        """Print what the header of the envelope says."""
        self.heading("The decoded envelope header")
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
        self.facts(facts)

    def print_calls(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Print how many KMS calls were needed. ``counts`` are events by operation and outcome."""
        self.heading("How many KMS calls it took")
        wraps, unwraps, sealed = counts["wrap", "ok"], counts["unwrap", "ok"], counts["seal", "ok"]
        calls = wraps + unwraps
        facts = {
            "payloads": f"{sealed} sealed, {counts['open', 'ok']} opened",
            "KMS calls": f"{calls} ({wraps} wrap, {unwraps} unwrap; one checks a new wrapping key before it seals)",
            "ratio": f"{sealed // max(1, calls)} payloads for each KMS call",
        }
        failures = sum(count for (_, outcome), count in counts.items() if outcome != "ok")
        self.facts({**facts, "failures": str(failures)} if failures else facts)

    def print_search(self, places: Mapping[str, set[str]]) -> None:
        """Print for each place that was searched which of the plaintexts it has."""
        self.heading("The search for plaintext: name, e-mail address and passport, as text and as base64")
        self.facts(
            {place: f"FOUND: {', '.join(sorted(found))}" if found else "not found" for place, found in places.items()}
        )

    def print_verdict(self, clean: bool) -> None:
        """Print whether plaintext was found."""
        self.verdict("No plaintext was found." if clean else "PLAINTEXT WAS FOUND.", good=clean)

    def verdict(self, text: str, *, good: bool) -> None:
        """Print a last line."""
        self._print()
        self._print(text, "green" if good else "bold red")

    def heading(self, text: str) -> None:
        """Print a title for what follows."""
        self._print()
        self._print(text, "bold")

    def command(self, arguments: Iterable[str], printed: str) -> str:
        """Print a command, and what it printed. Returns the command as one line."""
        line = shlex.join(("envelope-codec", *arguments))
        for number, part in enumerate(fold(line, self._width - 6)):
            self._print(f"  {'  ' if number else '$ '}{part}", "bold")
        for part in printed.splitlines():
            self._print(f"  | {part}")
        return line

    def facts(self, facts: Mapping[str, str]) -> None:
        """Print texts beside labels."""
        room = max(20, self._width - 2 - _LABEL)
        for label, fact in facts.items():
            parts = [part for line in fact.splitlines() for part in fold(line, room, breaking_words=True)]
            for number, part in enumerate(parts):
                self._print(f"  {'' if number else label:{_LABEL}}{part}")

    def _print(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(text.rstrip(), style), soft_wrap=True)


def _hexdump(data: bytes) -> Iterator[str]:
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{offset:04x}  {row[:8].hex(' '):23}  {row[8:].hex(' '):23}  |{text}|"
