"""The keystore passes the suite that every keystore has to pass."""

from __future__ import annotations

import uuid

from acme_kms.keystore import AcmeKeystore

from envelope_codec.testing.keystore_conformance import KeystoreConformance


class AcmeKeystoreHarness:
    """Places in memory."""

    async def place(self) -> str:
        return f"acmekeystore://{uuid.uuid4()}"

    async def put_other(self, url: str) -> None:
        await AcmeKeystore(url).put(b"beside-the-rows", b"", None)

    async def refusing(self) -> dict[str, str]:
        return {"no such place": "acmekeystore://no-place"}


class TestAcmeKeystore(KeystoreConformance):
    harness_class = AcmeKeystoreHarness
