"""Importing the library loads no cloud SDK."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import sys
import temporalio.client, temporalio.worker
before = set(sys.modules)
from envelope_codec import EnvelopePlugin, EnvelopeCodec, EnvelopeConfig, EnvelopeError, Keyring
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
print(*sorted(name for name in set(sys.modules) - before if name.startswith("google.cloud")))
"""


@pytest.mark.slow
def test_importing_the_library_loads_no_cloud_sdk() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    packages, google = done.stdout.split("\n")[:2]
    loaded = set(packages.split())
    assert "envelope_codec" in loaded
    assert not loaded & {"boto3", "botocore", "grpc", "hvac", "requests", "starlette", "typer", "rich"}
    assert not {name for name in loaded if name.startswith("envelope_codec_")}
    assert google == ""


USED = """
import asyncio, sys
from temporalio.api.common.v1 import Payload
from envelope_codec import EnvelopeCodec
from envelope_codec.testing import FakeKms

async def work():
    codec = EnvelopeCodec(FakeKms())
    sealed = await codec.encode([Payload(data=b"text" * 1_000)])
    print("before", {"backports.zstd", "compression.zstd"} & set(sys.modules))
    compressing = EnvelopeCodec(codec.config.model_copy(update={"compression": "zstd"}))
    assert await codec.decode(sealed + await compressing.encode([Payload(data=b"text" * 1_000)]))
    print("after", len({"backports.zstd", "compression.zstd"} & set(sys.modules)))

asyncio.run(work())
"""


@pytest.mark.slow
def test_zstd_is_loaded_when_something_is_compressed() -> None:
    done = subprocess.run([sys.executable, "-c", USED], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["before set()", "after 1"]


def test_the_public_names_are_these() -> None:
    import envelope_codec

    assert sorted(envelope_codec.__all__) == envelope_codec.__all__
    for name in envelope_codec.__all__:
        assert getattr(envelope_codec, name).__doc__, name


def test_a_provider_needs_no_temporal_sdk() -> None:
    code = "import sys, envelope_codec.kms, envelope_codec_local; assert 'temporalio' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    import envelope_codec

    with pytest.raises(AttributeError, match="EnvelopeCodecs"):
        envelope_codec.EnvelopeCodecs  # noqa: B018
