"""Tamper with what is kept beside Temporal: rows of a keystore, shared wrapping keys, and stored payloads.

`tests.vectors.tamper` runs this. Each function returns how many were tried in which way, and what came of them.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import StorageDriverClaim, StorageDriverRetrieveContext, StorageDriverStoreContext

from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import EnvelopeError
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keystore_row import MalformedRow, parse_row
from envelope_codec.keystore_sharing import parse_slot
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.pool import Pool
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms, ManualClock
from tests.support.adopting import adopt
from tests.support.memory_store import Memory, MemoryUrl
from tests.support.second_vector_reader import opened
from tests.vectors.row_files import load_rows
from tests.vectors.shared_files import load_auth, load_shared
from tests.vectors.tampering import BOUND, payload_of, pick
from tests.vectors.vector_files import Vector, load
from tests.vectors.verdict import REFUSED, Harmless, Passed, Quiet, identity_of, inline, is_plaintext, reader_of

Tally = Counter[tuple[str, str]]
ROWS, SHARED, CLAIMS, STORED = "keystore rows", "shared wrapping keys", "claims", "stored payloads"
KINDS = ("wrapping-key", "direct", "compressed")


async def tamper_rows(most: int | None) -> Tally:
    """Rows of envelopes: bits, lengths, and other rows in their place.

    A row is not bound, and proves nothing: a recipient serves if its secret leads to the record's id. So a row may be
    changed where no reader of this envelope asks. The second reader says where that is.
    """
    tally: Tally = Counter()
    others = [one.row for one in load_rows("ok")]
    for vector in load(lambda vector: bool(vector.keystore) and vector.expect == "ok"):
        before = [one for one in load() if one.name == vector.after]
        for key, row in vector.keystore.items():
            for data in (make() for make in pick(_changes(row, others), most)):
                changed = replace(vector, keystore={**vector.keystore, key: data})
                try:
                    opened(changed)
                    expected = Harmless.NOT_ASKED.value
                except ValueError:
                    expected = REFUSED
                found = await _read(before, changed, key, data)
                # With the key at hand no row is needed.
                warm = await _read([*before, vector], vector, key, data)
                if found != expected or warm != Harmless.NOT_ASKED.value:
                    raise Passed(f"{vector.name}: a row of {data.hex()} gave {found} and {warm}, and not {expected}")
                tally[ROWS, expected] += 1
    return tally


async def _read(before: list[Vector], vector: Vector, key: bytes, data: bytes) -> str:
    """Return what a reader makes of an envelope whose row is ``data``, after others that it has opened."""
    reader = reader_of(*before, vector)
    try:
        await reader.warm_up(*before)
        reader.keep(key, data)
        read = await reader.read(payload_of(vector))
    except EnvelopeError:
        return REFUSED
    finally:
        reader.close()
    if not is_plaintext(read, vector):
        raise Passed(f"{vector.name}: another plaintext")
    return Harmless.NOT_ASKED.value


async def tamper_shared(most: int | None) -> Tally:
    """Rows and slots of shared wrapping keys. No writer seals with one whose tagged bytes are not the original's."""
    tally: Tally = Counter()
    auth, vectors = load_auth(), load_shared()
    for vector in (one for one in vectors if one.expect == "adopt"):
        tagged = parse_row(vector.key, vector.row).tagged
        others = [one.row for one in vectors if one.row != vector.row]
        for row in (make() for make in pick(_changes(vector.row, others), most)):
            verdict = REFUSED
            if adopt(vector, auth, row) == "adopt":
                verdict = Harmless.NOT_TAGGED.value
                with suppress(MalformedRow):
                    if parse_row(vector.key, row).tagged != tagged:
                        raise Passed(f"{vector.name}: adopted {row.hex()}")
            tally[SHARED, verdict] += 1
        for slot in (make() for make in pick(_changes(vector.slot, []), most)):
            if parse_slot(slot) == vector.key:
                raise Passed(f"{vector.name}: the slot {slot.hex()} names the same row")
            tally[SHARED, REFUSED] += 1
    return tally


class Stored:
    """Two stored payloads of one kind, their claims, and what a driver makes of changed ones."""

    def __init__(self, kind: str) -> None:
        self.memory, self._kms = Memory(), FakeKms()
        settings: dict[str, Any] = {"wrapping": "direct" if kind == "direct" else "wrapping-key"}
        settings |= {"compression": "zstd"} if kind == "compressed" else {}
        self._config = EnvelopeConfig(key=self._kms, **settings)
        self._warm = self._driver()
        self.payloads: list[Payload] = []
        self.claims: list[str] = []

    async def fill(self) -> None:
        plain = [Payload(metadata={"encoding": b"json/plain"}, data=b'"%d%s"' % (n, b"lamp" * 40)) for n in range(2)]
        self.payloads = await self._warm.codec.encode(plain)
        claims = await self._warm.store(StorageDriverStoreContext(), self.payloads)
        self.claims = [claim.claim_data["envelope"] for claim in claims]
        await self.retrieve(self.claims[0], warm=True)

    async def retrieve(self, claim: str, *, warm: bool) -> Payload | None:
        """Return the sealed payload, or None if it was refused."""
        driver = self._warm if warm else self._driver()
        given = StorageDriverClaim({"envelope": claim})
        try:
            [payload] = await driver.retrieve(StorageDriverRetrieveContext(), [given])
        except EnvelopeError:
            return None
        finally:
            if not warm:
                driver.codec.keyring.close()
        return payload

    def _driver(self) -> EnvelopeDriver:
        url = MemoryUrl("mine", "memory://")
        url.memory = self.memory
        fakes: dict[str, Any] = {"spawn": inline, "clock": ManualClock(), "observer": Quiet()}
        direct = self._config.wrapping == "direct"
        keyring = Keyring(lambda namespace: KeySet(self._kms), direct=direct, **fakes)
        return EnvelopeDriver(Pool(url), EnvelopeCodec(self._config, keyring=keyring))


async def tamper_claims(most: int | None) -> Tally:
    """Claims on stored payloads, as Temporal keeps them; and the objects in the store."""
    tally: Tally = Counter()
    for kind in KINDS:
        stored = Stored(kind)
        await stored.fill()
        for make in pick(_changes(stored.claims[0].encode(), [stored.claims[1].encode()]), most):
            text = make().decode("latin-1")
            tally[CLAIMS, await _check_claim(stored, text)] += 1
        (id, data), (_, other) = stored.memory.kept.items()
        for make in pick(_changes(data, [other]), most):
            stored.memory.kept[id] = make()
            for warm in (False, True):
                if await stored.retrieve(stored.claims[0], warm=warm) is not None:
                    raise Passed(f"{kind}: {stored.memory.kept[id].hex()} was taken for what was stored")
            tally[STORED, REFUSED] += 1
    return tally


async def _check_claim(stored: Stored, text: str) -> str:
    """Return what came of a claim. Other text may stand for the same bytes, and other bytes for the same envelope."""
    expected, verdict = None, REFUSED
    with suppress(ValueError, binascii.Error, DecodeError):
        sealed = Payload.FromString(base64.b64decode(text, validate=True))
        strange = [name for name in sealed.metadata if name.startswith("encryption-") and name not in BOUND]
        originals = [Payload.FromString(base64.b64decode(claim)) for claim in stored.claims]
        for number, original in enumerate(originals):
            if not strange and identity_of(sealed) == identity_of(original):
                expected = stored.payloads[number]
                verdict = (Harmless.UNBOUND, Harmless.OTHER)[number].value
                verdict = Harmless.SAME.value if sealed == originals[0] else verdict
    for warm in (False, True):
        found = await stored.retrieve(text, warm=warm)
        if found != expected:
            raise Passed(f"the claim {text!r}: {found} instead of {expected}")
    return verdict


def _changes(data: bytes, others: list[bytes]) -> list[Callable[[], bytes]]:
    """Each bit flipped, each length, more at the end, and each of ``others`` instead."""
    made: list[Callable[[], bytes]] = [
        lambda at=at, bit=bit: data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :]  # type: ignore[misc]
        for at in range(len(data))
        for bit in range(8)
    ]
    made += [lambda length=length: data[:length] for length in range(len(data))]  # type: ignore[misc]
    made += [lambda more=more: data + more for more in (b"\0", b"\xff", b"=", data)]  # type: ignore[misc]
    return made + [lambda other=other: other for other in others]
