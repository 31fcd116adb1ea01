"""The stores that references to external storage lead to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import ExternalStorage, StorageDriver, StorageDriverClaim, StorageDriverRetrieveContext

from envelope_codec._frames import place_of
from envelope_codec.errors import ConfigurationError, EnvelopeError, MalformedEnvelope
from envelope_codec.observe import logger
from envelope_codec.server.web.limiter import Limiter
from envelope_codec.storage.claim import Claim, is_sealed, parse_envelope
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.reference import parse_reference


class BadReference(Exception):
    """The reference can't be followed: it can't be read, or names no store that is configured."""


class StorageFailed(Exception):
    """The store gave nothing, or something that is no payload."""


@dataclass(frozen=True)
class Stores:
    """The stores that references lead to.

    Attributes:
        drivers: storage drivers, by name.
    """

    drivers: Mapping[str, StorageDriver]
    # Bounds the log: a caller may name any store, as often as it likes.
    _warnings: Limiter = field(default_factory=lambda: Limiter("20/minute"), compare=False)

    @classmethod
    def of(cls, storage: ExternalStorage | StorageDriver) -> Stores:
        """Take the drivers of the SDK's configuration, or a single driver."""
        drivers = [storage] if isinstance(storage, StorageDriver) else storage.drivers
        return cls({driver.name(): driver for driver in drivers})

    @classmethod
    def merge(cls, *storages: ExternalStorage | StorageDriver | None) -> Stores | None:
        """Put together the drivers of all that are given. None if none is.

        Of two drivers with one name, the first counts.
        """
        found = [cls.of(storage).drivers for storage in storages if storage is not None]
        return cls({name: driver for drivers in reversed(found) for name, driver in drivers.items()}) if found else None

    def claim_envelope(self, reference: Payload) -> Payload | None:
        """Return the envelope that must be opened to follow ``reference``; None if its store is not of this library.

        Raises:
            BadReference: it leads to nothing.
            MalformedEnvelope: its claim is no envelope.
        """
        driver, claim = self._find_driver(reference)
        is_ours = isinstance(driver, EnvelopeDriver) and is_sealed(claim.claim_data)
        return parse_envelope(claim.claim_data) if is_ours else None

    async def read_size(self, reference: Payload) -> int:
        """Return how many bytes ``reference`` leads to: as its claim says, or for other drivers, as it says itself.

        Raises:
            BadReference: it leads to nothing.
            EnvelopeError: the claim can't be opened.
        """
        driver, claim = self._find_driver(reference)
        if isinstance(driver, EnvelopeDriver) and is_sealed(claim.claim_data):
            return (await Claim.open(claim.claim_data, driver.codec)).size
        return sum(details.size_bytes for details in reference.external_payloads)

    async def fetch(self, reference: Payload) -> Payload:
        """Fetch the payload that ``reference`` leads to.

        Raises:
            BadReference: it leads to nothing.
            StorageFailed: the store gave no payload. The log says why.
            EnvelopeError: a driver of this library could not open the claim, or gave no payload.
        """
        driver, claim = self._find_driver(reference)
        try:
            found = await driver.retrieve(StorageDriverRetrieveContext(), [claim])
            [payload] = found
        except EnvelopeError:
            raise
        except Exception as error:
            if not self._warnings.take(driver.name()):
                logger.warning("the store %.200r failed: %s", driver.name(), place_of(error))
            raise StorageFailed from None
        if not isinstance(payload, Payload):
            raise StorageFailed
        return payload

    def _find_driver(self, reference: Payload) -> tuple[StorageDriver, StorageDriverClaim]:
        try:
            found = parse_reference(reference)
        except MalformedEnvelope:
            raise BadReference from None
        driver = self.drivers.get(found.driver_name)
        if driver is None:
            raise BadReference
        return driver, StorageDriverClaim(claim_data=found.claim_data)


def load_storage(name: str) -> ExternalStorage | StorageDriver:
    """Load the storage that ``module:name`` names, or what it returns when it is called.

    Raises:
        ConfigurationError: there is none.
    """
    module, _, path = name.partition(":")
    try:
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        if not isinstance(found, (ExternalStorage, StorageDriver)):
            found = found()
    # A module may raise anything at its import, and a driver when it is made.
    except Exception as error:
        raise ConfigurationError(
            f"server.storage: {name!r} can't be loaded: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, (ExternalStorage, StorageDriver)):
        raise ConfigurationError(f"server.storage: {name!r} is no ExternalStorage and no StorageDriver, and makes none")
    return found
