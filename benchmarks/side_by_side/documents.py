"""The payloads on which all are compared: documents like orders, in JSON, each different from the others."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from temporalio.api.common.v1 import Payload

SIZES = {"100 B": 100, "1 KiB": 1 << 10, "10 KiB": 10 << 10, "64 KiB": 64 << 10, "1 MiB": 1 << 20}
BATCH = 50
BATCH_NAME = f"{BATCH} × 1 KiB"
_CITIES = ("Lisbon", "Gdańsk", "Nairobi", "Osaka", "Quito", "Tromsø")


def make_payloads(size: int, count: int, seed: int = 1) -> list[Payload]:
    """Return ``count`` payloads, each with a document of exactly ``size`` bytes."""
    chance = random.Random(seed)
    return [Payload(metadata={"encoding": b"json/plain"}, data=_document(size, chance)) for _ in range(count)]


def _document(size: int, chance: random.Random) -> bytes:
    text = bytearray()
    for order in _orders(chance):
        text += order
        if len(text) >= size:
            return bytes(text[:size])
    raise AssertionError("orders never end")


def _orders(chance: random.Random) -> Iterator[bytes]:
    while True:
        order = {
            "order_id": f"{chance.getrandbits(64):016x}",
            "customer": {"id": chance.randrange(10**7), "city": chance.choice(_CITIES)},
            "lines": [
                {"sku": f"SKU-{chance.randrange(10**5):05d}", "quantity": chance.randrange(1, 9), "cents": price}
                for price in chance.sample(range(99, 99_999), 3)
            ],
            "paid": chance.random() < 0.9,
        }
        yield json.dumps(order).encode() + b"\n"
