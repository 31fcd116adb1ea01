"""Tamper with the good vectors in every way, and count how many of those the library refuses.

    python -m tests.vectors.tamper              # some of each way, in half a minute
    python -m tests.vectors.tamper --all        # all of them, in half an hour
    python -m tests.vectors.tamper --all direct # all of these vectors

Each is met by a reader that has opened nothing yet ("cold"), and by one that has opened the untampered envelope just
before, so that its key is at hand ("warm"). Whatever does not come out as an `EnvelopeError` stops the command, unless
it is harmless for one of the reasons in `Harmless`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import permutations
from typing import Any

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload

from envelope_codec.errors import EnvelopeError
from tests.support.vector_reader import VectorReader
from tests.vectors import tampering
from tests.vectors.tamper_kept import (
    CLAIMS,
    KINDS,
    ROWS,
    SHARED,
    STORED,
    Tally,
    tamper_claims,
    tamper_rows,
    tamper_shared,
)
from tests.vectors.tampering import pick
from tests.vectors.vector_files import Vector
from tests.vectors.verdict import GOOD, REFUSED, Harmless, Passed, is_plaintext, judge, reader_of, sealed_as

FLIPS, CUTS, WHOLE, ENTRIES = "bits flipped", "values cut or extended", "payloads cut or extended", "entries"
RECIPIENTS, SWAPS = "recipients", "fields swapped"
SAMPLE = {FLIPS: 10, CUTS: 8, WHOLE: 400, ENTRIES: 8, RECIPIENTS: 8, SWAPS: 500}
SAMPLE |= {ROWS: 30, SHARED: 150, CLAIMS: 150}
"""How many of each way are tried in a short run: for each vector, row, claim and object; all swapped together."""


class Trial:
    """Readers of some vectors, cold and warm, to which tampered payloads are given.

    Args:
        vectors: what is tampered with is the last one.
    """

    def __init__(self, *vectors: Vector) -> None:
        before = [one for one in GOOD if one.name in {vector.after for vector in vectors}]
        self._vectors = [*before, *vectors]
        self._vector = vectors[-1]
        self._readers: dict[str, VectorReader] = {}

    async def expect(self, payload: Payload) -> str:
        """Give it to both readers. Return what became of it.

        Raises:
            Passed: it was not refused, and has no reason.
        """
        allowed = judge(payload, self._vector)
        for name in ("cold", "warm"):
            try:
                read = await (await self._reader(name)).read(payload)
            except EnvelopeError:
                if allowed in (None, Harmless.OTHER):
                    continue
                raise Passed(f"{name}: refused, although {allowed}: {payload}") from None
            except Exception as error:
                raise Passed(f"{name}: {error!r}: {payload}") from error
            if allowed is None:
                raise Passed(f"{name}: not refused: {payload}")
            if allowed is Harmless.NO_ENVELOPE:
                await self._check_passing(payload, read)
            elif not is_plaintext(read, sealed_as(payload) if allowed is Harmless.OTHER else self._vector):
                raise Passed(f"{name}: another plaintext: {payload}")
        return REFUSED if allowed is None else allowed.value

    async def end(self) -> None:
        """See that the untampered one still opens, at each reader."""
        for name in list(self._readers):
            reader = await self._reader(name)
            if not is_plaintext(await reader.read(tampering.payload_of(self._vector)), self._vector):
                raise Passed(f"{name}: {self._vector.name} does not open any more")
            reader.close()

    async def _reader(self, name: str) -> VectorReader:
        reader = self._readers.get(name)
        if reader is not None and name == "cold" and not reader.is_cold:
            reader.close()
            reader = None
        if reader is None:
            reader = self._readers[name] = self._make()
            if name == "warm":
                for one in self._vectors[:-1]:
                    with suppress(EnvelopeError):  # it may need a row for which another one has been put
                        await reader.warm_up(one)
                await reader.warm_up(self._vector)
        return reader

    def _make(self, **settings: Any) -> VectorReader:
        configured: dict[str, list[str]] = {}
        for one in self._vectors:
            for namespace, key_ids in one.configured.items():
                known = configured.setdefault(namespace, [])
                known += [key_id for key_id in key_ids if key_id not in known]
        vectors = self._vectors
        if len(vectors) > 1:  # both are to open
            vectors = [*vectors[:-1], replace(vectors[-1], max_payload=None)]
        return reader_of(*vectors, configured=configured, **settings)

    async def _check_passing(self, payload: Payload, read: Payload) -> None:
        strict = self._make(require_encryption=True)
        try:
            await strict.read(payload)
        except EnvelopeError:
            if read == payload:
                return
        finally:
            strict.close()
        raise Passed(f"what is no envelope was changed, or not refused where encryption is required: {payload}")


async def _on_one(vector: Vector, most: Mapping[str, int]) -> Tally:
    others = [one for one in GOOD if one.name in ("two-recipients", "falls-to-next-refused", "worked-example")]
    ways: dict[str, Iterator[Callable[[], Payload]]] = {
        FLIPS: tampering.flips(vector),
        CUTS: tampering.cuts(vector),
        ENTRIES: tampering.entries(vector),
        RECIPIENTS: tampering.recipients(vector, others),
    }
    tally: Tally = Counter()
    trial = Trial(vector)
    for way, made in ways.items():
        for make in pick(list(made), most.get(way)):
            tally[way, await trial.expect(make())] += 1
    whole: list[Payload] = []
    for serialized in pick(list(tampering.whole_cuts(vector)), most.get(WHOLE)):
        try:
            whole.append(Payload.FromString(serialized()))
        except (DecodeError, UnicodeDecodeError):
            tally[WHOLE, Harmless.NO_PAYLOAD.value] += 1
    for payload in whole:
        tally[WHOLE, await trial.expect(payload)] += 1
    await trial.end()
    return tally


async def _on_pairs(vectors: list[Vector], most: int | None) -> Tally:
    tally: Tally = Counter()
    made = [
        (one, other, number)
        for one, other in permutations(vectors, 2)
        for number, _ in enumerate(tampering.swaps(one, other))
    ]
    trial, pair = None, None
    for one, other, number in pick(made, most):
        if pair != (one.name, other.name):
            if trial is not None:
                await trial.end()
            trial, pair = Trial(other, one), (one.name, other.name)
        assert trial is not None
        tally[SWAPS, await trial.expect(list(tampering.swaps(one, other))[number]())] += 1
    if trial is not None:
        await trial.end()
    return tally


async def tamper(vectors: list[Vector], most: Mapping[str, int]) -> Tally:
    """Tamper with ``vectors``, with so many of each way at most. Return how many of each way came to what.

    Raises:
        Passed: something was not refused.
    """
    tally: Tally = Counter()
    for vector in vectors:
        tally += await _on_one(vector, most)
    return tally + await _on_pairs(vectors, most.get(SWAPS))


async def tamper_with_all(most: Mapping[str, int], vectors: list[Vector] = GOOD) -> Tally:
    """Tamper with good vectors, and with rows, shared wrapping keys, claims and stored payloads. Raises `Passed`."""
    tally = await tamper(vectors, most)
    tally += await tamper_rows(most.get(ROWS))
    tally += await tamper_shared(most.get(SHARED))
    return tally + await tamper_claims(most.get(CLAIMS))


def table(tally: Tally) -> str:
    """The figures for people."""
    ways = (FLIPS, CUTS, WHOLE, ENTRIES, RECIPIENTS, SWAPS, ROWS, SHARED, CLAIMS, STORED)
    reasons = [reason for reason in Harmless if reason is not Harmless.NO_PAYLOAD]
    lines = [f"{'':26}{'tried':>10}{'refused':>10}{'harmless':>10}"]
    for way in (*ways, "together"):
        ends: Counter[str] = Counter()
        for (one, end), count in tally.items():
            ends[end] += count if way in (one, "together") else 0
        harmless = sum(ends[reason.value] for reason in reasons)
        lines.append(f"{way:26}{ends[REFUSED] + harmless:>10,}{ends[REFUSED]:>10,}{harmless:>10,}")
    lines += ["", "harmless, because:"]
    lines += [f"  {reason.value:24}{_count(tally, reason):>10,}" for reason in reasons]
    return "\n".join([*lines, "", f"{Harmless.NO_PAYLOAD.value}, besides: {_count(tally, Harmless.NO_PAYLOAD):,}"])


def _count(tally: Tally, reason: Harmless) -> int:
    return sum(count for (_, end), count in tally.items() if end == reason.value)


def main() -> None:
    parser = argparse.ArgumentParser(description="tamper with the good test vectors, and count what is refused")
    parser.add_argument("names", nargs="*", help="of vectors; without any, all good ones", metavar="VECTOR")
    parser.add_argument("--all", action="store_true", help="try everything; half an hour for all vectors")
    given = parser.parse_args()
    vectors = [vector for vector in GOOD if vector.name in given.names or not given.names]
    logging.disable(logging.CRITICAL)  # each refusal has its line
    begun = time.perf_counter()
    tally = asyncio.run(tamper_with_all({} if given.all else SAMPLE, vectors))
    print(f"{len(vectors)} good vectors and {len(KINDS)} kinds of stored payloads, cold and warm, ", end="")
    print(f"{time.perf_counter() - begun:.0f} s\n\n{table(tally)}\n\nnot refused, and no reason why: 0")


if __name__ == "__main__":
    main()
