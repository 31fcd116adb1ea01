"""The ways in which a client of the benchmark encodes, or does not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import DataConverter, PayloadCodec, SerializationContext, WithSerializationContext
from temporalio.service import PayloadLimitsConfig

from benchmarks.static_key import StaticKeyCodec
from envelope_codec import EnvelopeConfig, EnvelopePlugin
from envelope_codec.cli.keygen import create_key_file, key_uri

REFERENCE = "plain"

VARIANTS: dict[str, str] = {
    REFERENCE: "no encryption, the SDK's default: gzip",
    "idle": "a codec that does nothing, but has a with_context",
    "static": "one static key, as in Temporal's samples; gzip",
    "gzip": 'this library, grpc_compression="gzip"',
    "sealed": "this library, as it is by default",
    "zstd": 'this library, compression="zstd"',
    "direct": 'this library, wrapping="direct", with a KMS that takes no time',
    "two": "this library, two master keys",
}
DEFAULT = (REFERENCE, "static", "gzip", "sealed", "zstd")

Connect = Callable[[str], Awaitable[Client]]
"""From ``HOST:PORT`` to a client."""


class IdleCodec(PayloadCodec, WithSerializationContext):
    """Changes nothing. It makes the SDK do whatever it does for a codec that wants to know the context."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    def with_context(self, context: SerializationContext) -> IdleCodec:
        return IdleCodec()


def available(variant: str) -> bool:
    """Whether this version of the library has what the variant is about."""
    return variant != "zstd" or "compression" in EnvelopeConfig.model_fields


def write_keys(folder: Path) -> None:
    """Make the master keys, in files: every process can read them, and a call costs next to nothing."""
    create_key_file(folder / "key")
    create_key_file(folder / "backup")


@contextmanager
def connecting(variant: str, folder: Path) -> Iterator[Connect]:
    """Give a function that connects a client as the variant wants it. Keys are those of `write_keys`."""
    codecs: dict[str, Callable[[], PayloadCodec]] = {"idle": IdleCodec, "static": lambda: StaticKeyCodec(bytes(32))}
    if variant == REFERENCE:
        yield _connect
    elif variant in codecs:
        yield partial(_connect, data_converter=replace(DataConverter.default, payload_codec=codecs[variant]()))
    else:
        settings: dict[str, dict[str, Any]] = {
            "gzip": {"grpc_compression": "gzip"},
            "zstd": {"compression": "zstd"},
            "direct": {"wrapping": "direct"},
            "two": {"backup_keys": (key_uri(folder / "backup"),)},
        }
        with EnvelopePlugin(key_uri(folder / "key"), startup_jitter=0, **settings.get(variant, {})) as plugin:
            yield partial(_connect, plugins=[plugin])


async def _connect(address: str, **options: Any) -> Client:
    """Connect. The SDK's core would log every payload of more than 512 KiB."""
    quiet = PayloadLimitsConfig(payloads_warn_size=0, memo_warn_size=0)
    return await Client.connect(address, payload_limits=quiet, **options)
