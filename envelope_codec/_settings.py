"""The settings as keyword arguments, for type checkers: `envelope_codec.config.EnvelopeConfig` checks their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

from typing_extensions import Required

from envelope_codec.keys.key_sets import ConfiguredKeys
from envelope_codec.keys.keyset import SealingContext
from envelope_codec.keystore import Keystore
from envelope_codec.kms import MasterKey

if TYPE_CHECKING:
    from temporalio.converter import PayloadCodec

AnyKey: TypeAlias = MasterKey | str
"""A master key, or a text that names one: an AWS KMS ARN, a GCP CryptoKey name or a key URI."""

Keys: TypeAlias = str | Sequence[MasterKey | str]
"""Master keys. A single text stands for a list of one."""

Duration: TypeAlias = float | str
"""Seconds, or a text with a unit: ``"90s"``, ``"5m"``, ``"24h"``, ``"1d"``."""

Size: TypeAlias = int | str
"""Bytes, or a text with a unit: ``"256KiB"``, ``"1MiB"``, ``"1MB"``."""

Names: TypeAlias = str | Sequence[str]
"""Texts. A single text stands for a list of one."""


class NamespaceSettings(TypedDict, total=False):
    """The fields of `envelope_codec.NamespaceKeys`, as a dictionary."""

    key: Required[AnyKey]
    backup_keys: Keys
    decrypt_keys: Keys
    context: Mapping[str, str]
    temporal_proxy_keys: Mapping[str, Keys]
    min_recipients: int
    lease: Duration | None


class EnvelopeSettings(TypedDict, total=False):
    """The fields of `envelope_codec.EnvelopeConfig` beside ``key``."""

    backup_keys: Keys
    decrypt_keys: Keys
    context: Mapping[str, str]
    temporal_proxy_keys: Mapping[str, Keys]
    min_recipients: int
    namespaces: Mapping[str, ConfiguredKeys | NamespaceSettings]
    required: bool | Names
    resolver: Callable[[SealingContext], ConfiguredKeys | MasterKey | str | None] | None
    namespace_aliases: Mapping[str, str]
    wrapping: Literal["wrapping-key", "direct"]
    verify_wraps: bool
    sealing: bool
    require_encryption: bool
    legacy_codecs: str | Sequence[PayloadCodec | str]
    headers: bool
    grpc_compression: Literal["none", "gzip", "client"]
    compression: Literal["none", "zstd"]
    compression_min_size: Size
    max_payload: Size
    storage: str | None
    storage_threshold: Size
    storage_query_threshold: Size
    storage_replay_memory: Size
    former_storage: Names
    keystore: str | Keystore | None
    keystore_mode: Literal["required", "best_effort"]
    share_wrapping_keys: bool
    keystore_auth: Names
    max_age: Duration
    max_payloads: int
    cache_ttl: Duration
    cache_size: int
    lease: Duration
    outage_grace: Duration
    refusal_ttl: Duration
    timeout: Duration
    activity_timeout: Duration
    startup_jitter: Duration
    metrics_key_ids: Literal["plain", "hashed"]


class ConfigSettings(EnvelopeSettings, total=False):
    """All fields of `envelope_codec.EnvelopeConfig`."""

    key: AnyKey | None
