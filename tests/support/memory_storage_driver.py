"""An external storage for payloads, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ExternalStorage,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)


class MemoryDriver(StorageDriver):
    """Keeps what it is given.

    Attributes:
        stored: each payload, as it was given.
    """

    def __init__(self) -> None:
        self.stored: list[Payload] = []

    def name(self) -> str:
        return "shelf"

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        first = len(self.stored)
        for payload in payloads:
            kept = Payload()
            kept.CopyFrom(payload)
            self.stored.append(kept)
        return [StorageDriverClaim({"place": str(place)}) for place in range(first, len(self.stored))]

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        return [self.stored[int(claim.claim_data["place"])] for claim in claims]


def storage(driver: MemoryDriver, threshold: int) -> ExternalStorage:
    """Puts payloads of ``threshold`` bytes and more on ``driver``."""
    return ExternalStorage(drivers=[driver], payload_size_threshold=threshold)
