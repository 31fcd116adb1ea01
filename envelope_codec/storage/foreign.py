"""The application's own storage drivers and selectors. Their errors become errors of this library."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ExternalStorage,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverSelectContext,
    StorageDriverStoreContext,
)

from envelope_codec.temporal.foreign import Extension, list_payloads
from envelope_codec.temporal.store_target import unmark

_KIND = "application's storage driver"


class ForeignDriver(StorageDriver):
    """A storage driver of the application. Whatever it raises becomes `ExtensionFailed`, and so does a bad answer."""

    def __init__(self, driver: StorageDriver) -> None:
        self.driver = driver
        self._extension = Extension(_KIND, driver)
        self._name = self._extension.call(driver.name)

    def name(self) -> str:
        """Return the driver's name. The driver was asked once, at the start: the SDK asks while it encodes."""
        return self._name

    def type(self) -> str:
        """Return the driver's own type."""
        return self._extension.call(self.driver.type)

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        """Let the driver store payloads. Raises `EnvelopeError` and nothing else."""
        answer = await self._extension.run(self.driver.store, unmark(context), payloads, operation="put")
        claims = _read_claims(answer)
        del answer  # an error's frames may be shown, with their variables
        if claims is None or len(claims) != len(payloads):
            raise self._extension.make_error("did not return a claim for each payload", operation="put")
        return claims

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """Let the driver fetch payloads. Raises `EnvelopeError` and nothing else."""
        answer = await self._extension.run(self.driver.retrieve, context, claims, operation="get")
        payloads = list_payloads(answer)
        del answer
        if payloads is None or len(payloads) != len(claims):
            raise self._extension.make_error("did not return a payload for each claim", operation="get")
        return payloads


class ForeignSelector:
    """The choice of the application's driver for a payload, by the application's own settings.

    Args:
        storage: the application's settings.
        drivers: its drivers, as `wrap_drivers` made them.
    """

    def __init__(self, storage: ExternalStorage, drivers: Sequence[ForeignDriver]) -> None:
        self._selector = storage.driver_selector
        self._drivers = drivers
        self._extension = Extension("application's driver selector", self._selector)

    def __call__(self, context: StorageDriverSelectContext, payload: Payload) -> StorageDriver | None:
        """Return the driver that stores ``payload``, or None. Raises `EnvelopeError` and nothing else."""
        if self._selector is None:
            return self._drivers[0]
        chosen = self._extension.call(self._selector, unmark(context), payload, operation="put")
        if chosen is None:
            return None
        for driver in self._drivers:
            if driver.driver is chosen:
                return driver
        raise self._extension.make_error("chose a driver that is not registered", operation="put")


def wrap_drivers(storage: ExternalStorage | None) -> list[ForeignDriver]:
    """Wrap each driver of the application's settings."""
    return [ForeignDriver(driver) for driver in storage.drivers] if storage is not None else []


def _read_claims(answer: Any) -> list[StorageDriverClaim] | None:
    with suppress(Exception):
        claims = [StorageDriverClaim(dict(claim.claim_data)) for claim in answer]
        if all(isinstance(text, str) for claim in claims for entry in claim.claim_data.items() for text in entry):
            return claims
    return None
