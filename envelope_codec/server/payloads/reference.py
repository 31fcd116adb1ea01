"""References to external storage: what they look like, and what they lead to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from google.protobuf import json_format
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.converter import ExternalStorage, StorageDriver, StorageDriverClaim, StorageDriverRetrieveContext

from envelope_codec._frames import place_of
from envelope_codec.errors import ConfigurationError, EnvelopeError
from envelope_codec.observe import logger
from envelope_codec.server.web.limiter import Limiter
from envelope_codec.storage.claim import Claim
from envelope_codec.storage.driver import EnvelopeDriver

# As in temporalio/converter/_extstore.py: what is written today, what was written before, and the mark of a reference
# that went through the codec.
_MESSAGE = ExternalStorageReference.DESCRIPTOR.full_name.encode()
_EARLIER = b"json/external-storage-reference"
MARK = "__temporal_external_storage_reference"


class BadReference(Exception):
    """It can't be followed: it says nothing, or names no store that is configured."""


class StorageFailed(Exception):
    """The store gave nothing, or no payload."""


def is_reference(payload: Payload) -> bool:
    """Whether it is a reference in clear."""
    encoding = payload.metadata.get("encoding")
    return encoding == _EARLIER or (encoding == b"json/protobuf" and payload.metadata.get("messageType") == _MESSAGE)


def is_marked(payload: Payload) -> bool:
    """Whether it is a reference that went through the codec."""
    return payload.metadata.get(MARK) == b"true"


def without_mark(payload: Payload) -> Payload:
    """What the codec made of the reference, without what the SDK added to it."""
    bare = Payload()
    bare.CopyFrom(payload)
    del bare.metadata[MARK]
    del bare.external_payloads[:]
    return bare


def with_sizes(reference: Payload, marked: Payload) -> Payload:
    """``reference`` as it was before the codec, with the sizes that ``marked`` shows."""
    found = Payload()
    found.CopyFrom(reference)
    if not found.external_payloads:
        found.external_payloads.extend(marked.external_payloads)
    return found


@dataclass(frozen=True)
class Stores:
    """What references lead to.

    Attributes:
        drivers: by name.
    """

    drivers: Mapping[str, StorageDriver]
    _told: Limiter = field(default_factory=lambda: Limiter("20/minute"), compare=False)  # a caller may name anything

    @classmethod
    def of(cls, storage: ExternalStorage | StorageDriver) -> Stores:
        """Those of the SDK's configuration, or a single one."""
        drivers = [storage] if isinstance(storage, StorageDriver) else storage.drivers
        return cls({driver.name(): driver for driver in drivers})

    @classmethod
    def together(cls, *storages: ExternalStorage | StorageDriver | None) -> Stores | None:
        """Those of all that are given, where one is; what stands first counts if two have one name."""
        found = [cls.of(storage).drivers for storage in storages if storage is not None]
        return cls({name: driver for drivers in reversed(found) for name, driver in drivers.items()}) if found else None

    def claim(self, reference: Payload) -> Payload | None:
        """The envelope that has to be opened to follow ``reference``, where it is to a datastore of this library.

        Raises:
            BadReference: it leads to nothing.
            MalformedEnvelope: it says something else.
        """
        driver, claim = self._driver(reference)
        ours = isinstance(driver, EnvelopeDriver) and Claim.is_sealed(claim.claim_data)
        return Claim.envelope(claim.claim_data) if ours else None

    async def size(self, reference: Payload) -> int:
        """How many bytes ``reference`` leads to: as `claim` says, where there is one, else as the reference says.

        Raises:
            BadReference: it leads to nothing.
            EnvelopeError: the claim can't be opened.
        """
        driver, claim = self._driver(reference)
        if isinstance(driver, EnvelopeDriver) and Claim.is_sealed(claim.claim_data):
            return (await Claim.opened(claim.claim_data, driver.codec)).size
        return sum(details.size_bytes for details in reference.external_payloads)

    async def fetch(self, reference: Payload) -> Payload:
        """What ``reference`` leads to.

        Raises:
            BadReference, StorageFailed: nothing. What the store said is in the log.
            EnvelopeError: a driver of this library could not open what the reference says.
        """
        driver, claim = self._driver(reference)
        try:
            found = await driver.retrieve(StorageDriverRetrieveContext(), [claim])
            [payload] = found
        except EnvelopeError:
            raise
        except Exception as error:
            if not self._told.take(driver.name()):
                logger.warning("the store %.200r failed: %s", driver.name(), place_of(error))
            raise StorageFailed from None
        if not isinstance(payload, Payload):
            raise StorageFailed
        return payload

    def _driver(self, reference: Payload) -> tuple[StorageDriver, StorageDriverClaim]:
        name, claim = _parse(reference)
        driver = self.drivers.get(name)
        if driver is None:
            raise BadReference
        return driver, claim


def load_storage(name: str) -> ExternalStorage | StorageDriver:
    """The storage that ``module:name`` names, or makes when it is called.

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
    # Any class: what a module raises at its import, or a driver when it is made, is as it pleases.
    except Exception as error:
        raise ConfigurationError(
            f"server.storage: {name!r} can't be loaded: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, (ExternalStorage, StorageDriver)):
        raise ConfigurationError(f"server.storage: {name!r} is no ExternalStorage and no StorageDriver, and makes none")
    return found


def _parse(payload: Payload) -> tuple[str, StorageDriverClaim]:
    try:
        if payload.metadata.get("encoding") == _EARLIER:
            tree = json.loads(payload.data)
            name, data = tree["driver_name"], tree["driver_claim"]["claim_data"]
        else:
            reference = json_format.Parse(payload.data, ExternalStorageReference(), ignore_unknown_fields=True)
            name, data = reference.driver_name, dict(reference.claim_data)
        if not isinstance(name, str) or not all(isinstance(text, str) for pair in data.items() for text in pair):
            raise BadReference
    except BadReference:
        raise
    except Exception:  # of JSON, of protobuf, of the wrong shape: it is the payload that is wrong
        raise BadReference from None
    return name, StorageDriverClaim(claim_data=data)
