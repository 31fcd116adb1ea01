"""Orders as JSON documents of a size: names of fields repeat, words come from a catalogue, ids are random."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

POOL = 6
"""Different documents of each size: one for a workflow's input, one for the result of each activity."""

_CATALOGUE = """
amber anchor apple autumn basket beacon birch bottle bridge bronze button candle canvas carbon cedar cherry
copper cotton crystal desert drawer ember engine fabric feather filter forest garden garnet ginger glacier
granite hammer harbor hazel hinge indigo island ivory jacket kettle ladder lantern leather linen magnet maple
marble meadow mirror morning needle nickel nutmeg ocean olive orchid paddle paper pebble pepper pillow pocket
quartz ribbon river rubber saddle saffron sapphire shadow silver socket spring summer table thistle timber
tunnel valley velvet walnut willow
"""
_WORDS = _CATALOGUE.split()
_STATES = ("open", "packed", "shipped", "returned")


def write_documents(folder: Path, sizes: Iterable[int]) -> None:
    """Make the documents once: 1 MiB takes half a second."""
    for size in sizes:
        documents = [_order(size, number) for number in range(POOL)]
        _file(folder, size).write_text(json.dumps(documents), "utf-8")


def read_documents(folder: Path, size: int) -> list[dict[str, Any]]:
    """Return the `POOL` documents of ``size`` that `write_documents` has made."""
    documents: list[dict[str, Any]] = json.loads(_file(folder, size).read_text("utf-8"))
    return documents


def _file(folder: Path, size: int) -> Path:
    return folder / f"documents-{size}.json"


def _order(size: int, number: int) -> dict[str, Any]:
    chance = random.Random(f"{size} {number}")
    order: dict[str, Any] = {
        "order": f"{chance.getrandbits(128):032x}",
        "number": number,
        "size": size,
        "customer": {
            "id": f"C-{chance.randrange(10**9):09}",
            "name": f"{_word(chance).title()} {_word(chance).title()}",
            "mail": f"{_word(chance)}.{_word(chance)}@example.com",
            "address": {
                "street": f"{chance.randrange(1, 200)} {_word(chance).title()} Street",
                "zip": _digits(chance, 5),
            },
        },
        "placed": f"2026-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}T{_digits(chance, 2)}:00:00Z",
        "lines": [],
    }
    length = len(json.dumps(order, separators=(",", ":")))
    while length < size:
        line = _line(chance)
        order["lines"].append(line)
        length += len(json.dumps(line, separators=(",", ":"))) + 1
    return order


def _line(chance: random.Random) -> dict[str, Any]:
    return {
        "sku": f"{_word(chance)[:3].upper()}-{_digits(chance, 6)}",
        "product": f"{_word(chance)} {_word(chance)}",
        "quantity": chance.randrange(1, 20),
        "unit_price": {"amount": round(chance.uniform(1, 500), 2), "currency": "EUR"},
        "state": chance.choice(_STATES),
        "note": " ".join(_word(chance) for _ in range(chance.randrange(3, 9))),
    }


def _word(chance: random.Random) -> str:
    return chance.choice(_WORDS)


def _digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choice("0123456789") for _ in range(count))
