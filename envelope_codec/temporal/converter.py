"""A data converter with our codec in it, and with what belongs to the codec: failure converter and datastores."""

from __future__ import annotations

import dataclasses
from typing import Protocol, cast

from temporalio.converter import DataConverter, ExternalStorage, FailureConverter

from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError
from envelope_codec.temporal.caching_converter import keep_copies
from envelope_codec.temporal.chain import add_codec, find_codec, remove_codec
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.failure_converter import make_hiding_converter, make_reading_converter
from envelope_codec.temporal.failure_encoding import seal_failures


class Stores(Protocol):
    """The datastores of the codec's configuration, as settings of the SDK know them. There may be none."""

    def add_to(self, theirs: ExternalStorage | None, codec: EnvelopeCodec) -> ExternalStorage | None:
        """Return the user's settings with the datastores in them. ``codec`` seals what these are given."""

    def restore_in(self, storage: ExternalStorage | None, codec: EnvelopeCodec) -> ExternalStorage | None:
        """Return ``storage`` with the datastores in it: ``storage`` itself, if they are there."""

    def remove_from(self, storage: ExternalStorage | None) -> ExternalStorage | None:
        """Return ``storage`` as it was before `add_to`."""


def apply_codec(converter: DataConverter, codec: EnvelopeCodec, stores: Stores) -> DataConverter:
    """Return ``converter`` with ``codec`` and with what belongs to it. To apply a codec twice is to apply it once.

    Raises:
        ConfigurationError: ``converter`` has a codec with another keyring.
    """
    there = find_codec(converter.payload_codec)
    if there is None:
        return merge_codec(converter, codec, stores)
    if there.keyring is not codec.keyring:
        raise ConfigurationError(
            "the data converter encrypts already, by another EnvelopePlugin: start from one that does not"
        )
    if there.namespace == codec.namespace and there.config == codec.config:
        return _restore(converter, there, stores)
    others = dataclasses.replace(
        converter,
        payload_codec=remove_codec(converter.payload_codec, there),
        external_storage=stores.remove_from(converter.external_storage),
    )
    return merge_codec(others, codec, stores)


def merge_codec(base: DataConverter, codec: EnvelopeCodec, stores: Stores) -> DataConverter:
    """Return ``base``, which has no codec of ours, with ``codec`` after its own codec and with what belongs to it."""
    merged = dataclasses.replace(
        base,
        payload_codec=add_codec(base.payload_codec, codec),
        failure_converter_class=_choose_failure_converter(base, codec.config),
        external_storage=stores.add_to(base.external_storage, codec),
    )
    kept = keep_copies(merged)
    return seal_failures(kept) if codec.config.sealing else kept


def _restore(converter: DataConverter, codec: EnvelopeCodec, stores: Stores) -> DataConverter:
    """Return ``converter``, which has ``codec``, with what belongs to the codec, if another plugin took that out."""
    failures = _choose_failure_converter(converter, codec.config)
    storage = stores.restore_in(converter.external_storage, codec)
    if failures is not converter.failure_converter_class or storage is not converter.external_storage:
        converter = dataclasses.replace(converter, failure_converter_class=failures, external_storage=storage)
    return seal_failures(converter) if codec.config.sealing else converter


def _choose_failure_converter(base: DataConverter, config: EnvelopeConfig) -> type[FailureConverter]:
    """Without sealing, failures are written as before, and those that others have encoded are read."""
    failures = base.failure_converter_class
    if config.sealing:
        return make_hiding_converter(failures)
    return cast("type[FailureConverter]", make_reading_converter(failures))
