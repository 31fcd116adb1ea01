"""The store passes the suite that every store has to pass."""

from __future__ import annotations

import uuid

from acme_kms.store import AcmeStore

from envelope_codec.testing.store_conformance import StoreConformance


class AcmeStoreHarness:
    """Places in memory."""

    async def place(self) -> str:
        return f"acmestore://{uuid.uuid4()}"

    async def put_other(self, url: str) -> None:
        await AcmeStore(url).put("beside-the-payloads", b"")

    async def overwrite(self, url: str, id: str, data: bytes) -> None:
        await AcmeStore(url).put(id, data)

    async def refusing(self) -> dict[str, str]:
        return {"no such place": "acmestore://no-place"}


class TestAcmeStore(StoreConformance):
    harness_class = AcmeStoreHarness
