"""Every way of tampering with the good vectors that `tests.vectors.tamper` tries. Bytes only.

What is to be tried is named by functions that make it, so that some can be chosen without making the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import TypeVar

from temporalio.api.common.v1 import Payload

from tests.vectors.vector_files import Vector

_T = TypeVar("_T")
Make = Callable[[], Payload]
RECORD, KEY_ID, DATA_KEY = "encryption-wrapped-key", "encryption-key-id", "encryption-data-key"
BOUND = ("encoding", DATA_KEY, KEY_ID, RECORD)
LONG = 65_536
"""Bytes. Of what is longer, only the ends and every 4,099th byte are changed."""

Recipient = tuple[bytes, bytes, bytes]


@dataclass(frozen=True)
class Parts:
    """A record in parts. Key id, key version and ciphertext of each recipient; the first key id is empty."""

    purpose: bytes
    created: bytes
    context: bytes
    id: bytes
    recipients: tuple[Recipient, ...]

    @classmethod
    def of(cls, record: bytes) -> Parts:
        at = 11
        for _ in range(2 * record[10]):
            at = _after(record, at)
        id, count, at, items = record[at : at + 32], record[at + 32], at + 33, []
        for _ in range(3 * count):
            end = _after(record, at)
            items.append(record[at + 2 : end])
            at = end
        recipients = tuple(zip(items[::3], items[1::3], items[2::3], strict=True))
        return cls(record[1:2], record[2:10], record[10 : len(record) - _length(recipients) - 32], id, recipients)

    def join(self) -> bytes:
        head = b"\x01" + self.purpose + self.created + self.context
        return head + self.id + _listed(self.recipients)


def payload_of(vector: Vector) -> Payload:
    return Payload(metadata=vector.metadata, data=vector.data)


def flips(vector: Vector) -> Iterator[Make]:
    """Each bit of each value of metadata, and of the data."""
    for name, value in _values(vector):
        for at in _places(len(value)):
            for bit in range(8):
                yield (
                    lambda name=name, value=value, at=at, bit=bit: _with(  # type: ignore[misc]
                        vector, name, value[:at] + bytes((value[at] ^ 1 << bit,)) + value[at + 1 :]
                    )
                )


def cuts(vector: Vector) -> Iterator[Make]:
    """Each value at each length, from its end and from its start, and each value with something added."""
    for name, value in _values(vector):
        for length in _places(len(value)):
            yield lambda name=name, value=value, length=length: _with(vector, name, value[:length])  # type: ignore[misc]
            yield (
                lambda name=name, value=value, length=length: _with(  # type: ignore[misc]
                    vector, name, value[length + 1 :]
                )
            )
        for more in (b"\x00", b"\xff", b" ", bytes(16), value[-1:], value[:2_048]):
            yield lambda name=name, value=value, more=more: _with(vector, name, value + more)  # type: ignore[misc]
            yield lambda name=name, value=value, more=more: _with(vector, name, more + value)  # type: ignore[misc]


def whole_cuts(vector: Vector) -> Iterator[Callable[[], bytes]]:
    """The serialized payload at each length, with its fields in several orders, and with something added."""
    entries = [Payload(metadata={name: value}).SerializeToString() for name, value in sorted(vector.metadata.items())]
    data = Payload(data=vector.data).SerializeToString()
    for fields in ([*entries, data], [data, *entries], [*entries[1:], entries[0], data], [*entries[::-1], data]):
        serialized = b"".join(fields)
        for length in _places(len(serialized)) if len(serialized) <= LONG else range(LONG // 16):
            yield lambda serialized=serialized, length=length: serialized[:length]  # type: ignore[misc]
        for more in (b"\x00", b"\x20\x01", b"\x1a\x02\x20\x01", b"\x12\x00", entries[0], entries[-1], data):
            yield lambda serialized=serialized, more=more: serialized + more  # type: ignore[misc]


def entries(vector: Vector) -> Iterator[Make]:
    """Entries of metadata taken away, by one and by two, renamed, and added."""

    def without(*names: str) -> Payload:
        kept = {name: value for name, value in vector.metadata.items() if name not in names}
        return Payload(metadata=kept, data=vector.data)

    for count in (1, 2):
        for names in combinations(vector.metadata, count):
            yield lambda names=names: without(*names)  # type: ignore[misc]
    for name in vector.metadata:
        for other in (name.upper(), name + " ", "encryption-" + name, "x-" + name):
            yield lambda name=name, other=other: _adding(without(name), other, vector.metadata[name])  # type: ignore[misc]
    for name in ("encryption-", "encryption-x", "encryption-padding", "Encryption-x", "note", "", *BOUND):
        for value in (b"", b"\x00", b"binary/envelope-v2", vector.metadata["encryption-wrapped-key"]):
            yield lambda name=name, value=value: _adding(payload_of(vector), name, value)  # type: ignore[misc]


def recipients(vector: Vector, others: list[Vector]) -> Iterator[Make]:
    """Recipients in other orders, twice, taken away, and added: those of ``others`` and made-up ones."""
    parts = Parts.of(vector.metadata[RECORD])
    first_key_id = vector.metadata[KEY_ID]
    listed = [(first_key_id, *parts.recipients[0][1:]), *parts.recipients[1:]]
    added = [(b"localfile://" + b"0" * 32, b"1", listed[0][2]), (first_key_id + b"0", *listed[0][1:])]
    for other in others:
        foreign = Parts.of(other.metadata[RECORD]).recipients
        added += [(other.metadata[KEY_ID], *foreign[0][1:]), *foreign[1:]]
    orders = permutations(listed) if len(listed) < 4 else (listed[n:] + listed[:n] for n in range(len(listed)))
    lists = [list(order) for order in orders] + [listed[::-1], []]
    for at, one in enumerate(listed):
        lists += [[*listed[:at], *listed[at + 1 :]], [*listed[:at], one, *listed[at:]], [*listed, one], [one]]
    for one in added:
        lists += [[*listed[:at], one, *listed[at:]] for at in range(len(listed) + 1)]
        lists += [[*listed[:at], one, *listed[at + 1 :]] for at in range(len(listed))]
    for changed in lists:
        yield lambda changed=changed: _listing(vector, parts, changed)  # type: ignore[misc]
        # The same, while encryption-key-id says what it said.
        yield lambda changed=changed: _listing(vector, parts, changed, first_key_id)  # type: ignore[misc]


def swaps(vector: Vector, other: Vector) -> Iterator[Make]:
    """One or two fields of ``other`` in the place of this one's; or a part of its record, or of its data."""
    for count in (1, 2):
        for names in combinations(("data", *BOUND), count):
            yield lambda names=names: _taking(vector, other, names)  # type: ignore[misc]
    for part in ("purpose", "created", "context", "id", "recipients"):
        yield lambda part=part: _with(vector, RECORD, _taking_part(vector, other, part))  # type: ignore[misc]
    for start, end in ((0, 32), (32, 44), (44, max(len(vector.data), len(other.data)))):
        yield (
            lambda start=start, end=end: _with(  # type: ignore[misc]
                vector, "data", vector.data[:start] + other.data[start:end] + vector.data[end:]
            )
        )


def pick(made: list[_T], most: int | None) -> list[_T]:
    """As many of these, spread over all, and always the same ones."""
    if most is None or len(made) <= most:
        return made
    step = len(made) / most
    return [made[min(int(number * step) + number % 8, len(made) - 1)] for number in range(most)]


def _values(vector: Vector) -> list[tuple[str, bytes]]:
    return [*vector.metadata.items(), ("data", vector.data)]


def _places(length: int) -> list[int]:
    """Places in a value of that length, 0 among them."""
    if length <= LONG:
        return list(range(length))
    return [*range(128), *range(128, length - 128, 4_099), *range(length - 128, length)]


def _with(vector: Vector, name: str, value: bytes) -> Payload:
    if name == "data":
        return Payload(metadata=vector.metadata, data=value)
    return Payload(metadata={**vector.metadata, name: value}, data=vector.data)


def _adding(payload: Payload, name: str, value: bytes) -> Payload:
    payload.metadata[name] = value
    return payload


def _taking(vector: Vector, other: Vector, names: tuple[str, ...]) -> Payload:
    taken = replace(vector, metadata=dict(vector.metadata))
    metadata = {name: value for name, value in taken.metadata.items() if name not in names}
    metadata.update({name: other.metadata[name] for name in names if name in other.metadata})
    return Payload(metadata=metadata, data=other.data if "data" in names else vector.data)


def _taking_part(vector: Vector, other: Vector, part: str) -> bytes:
    own, foreign = Parts.of(vector.metadata[RECORD]), Parts.of(other.metadata[RECORD])
    return replace(own, **{part: getattr(foreign, part)}).join()


def _listing(vector: Vector, parts: Parts, listed: list[Recipient], key_id: bytes | None = None) -> Payload:
    """The vector with these recipients, whose key ids are all spelled out."""
    first = [(b"", *one[1:]) for one in listed[:1]]
    record = replace(parts, recipients=(*first, *listed[1:])).join()
    if key_id is None:
        key_id = listed[0][0] if listed else vector.metadata[KEY_ID]
    return Payload(metadata={**vector.metadata, RECORD: record, KEY_ID: key_id}, data=vector.data)


def _listed(recipients: tuple[Recipient, ...]) -> bytes:
    return bytes((len(recipients),)) + b"".join(_sized(item) for recipient in recipients for item in recipient)


def _length(recipients: tuple[Recipient, ...]) -> int:
    return len(_listed(recipients))


def _sized(item: bytes) -> bytes:
    return len(item).to_bytes(2, "big") + item


def _after(record: bytes, at: int) -> int:
    return at + 2 + int.from_bytes(record[at : at + 2], "big")
