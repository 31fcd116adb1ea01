"""What Google Cloud Storage and Azure Blob Storage have to themselves, against their servers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from envelope_codec import EnvelopeError, InvalidCiphertext, StoreRefused, StoreUnavailable
from envelope_codec.cli.store_hint import store_hint
from tests.support.harness_stores import Azure, Stores, aws_environment, new_id, opened

KINDS = ["azblob", "gs"]


@pytest.fixture(autouse=True)
def credentials() -> Iterator[None]:
    with aws_environment():
        yield


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_overwritten(kind: str, stores: Stores) -> None:
    """What is there already is taken for an earlier attempt's only if it is the same."""
    harness = stores[kind]
    store, id = opened(url := await harness.place()), new_id()
    for other in (b"some bytes more", b"some bytez", b""):
        await harness.overwrite(url, id, other)
        with pytest.raises(StoreRefused, match="something else is there") as caught:
            await store.put(id, b"some bytes")
        assert "nothing is overwritten" in store_hint(kind, caught.value, writes=True)
        assert await store.get(id) == other
    await harness.overwrite(url, id, b"some bytes")
    await store.put(id, b"some bytes")
    await store.close()


async def told(url: str) -> EnvelopeError:
    store = opened(url)
    with pytest.raises(EnvelopeError) as caught:
        await store.put(new_id(), b"some bytes")
    await store.close()
    return caught.value


async def test_wrong_credentials_of_azure_are_told_and_what_to_do(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure = stores["azblob"]
    assert isinstance(azure, Azure)
    url = await azure.place()
    cases: list[tuple[str, str, dict[str, str | None], type[EnvelopeError], str]] = [
        # Azure itself says AuthenticationFailed of a wrong key.
        ("wrong key", url, {"AZURE_STORAGE_KEY": "c2VzYW1l"}, StoreRefused, "wrong account key"),
        ("no key", url, {"AZURE_STORAGE_KEY": None}, StoreUnavailable, "account key"),
        ("another's key", url, {"AZURE_STORAGE_ACCOUNT": "theirs"}, StoreUnavailable, "AZURE_STORAGE_ACCOUNT"),
        ("no file", f"{url}&key_file=/astray", {}, StoreUnavailable, "path of the option key_file"),
        ("account", azure.url("payloads/x", "astray"), {"AZURE_STORAGE_ACCOUNT": None}, StoreRefused, "account's name"),
    ]
    for what, place, changes, kind, fix in cases:
        with monkeypatch.context() as environment:
            for name, value in changes.items():
                environment.delenv(name) if value is None else environment.setenv(name, value)
            error = await told(place)
        assert type(error) is kind, what
        assert fix in store_hint("azblob", error, writes=True), what
        assert "sesame" not in str(error)
        assert "astray" not in str(error)


async def test_a_blob_that_would_be_unpacked_is_refused(stores: Stores) -> None:
    """The SDK unpacks what says that it is compressed, to whatever size."""
    from azure.storage.blob import ContentSettings

    azure: Any = stores["azblob"]
    store, id = opened(url := await azure.place()), new_id()
    with azure.client() as client:
        settings = ContentSettings(content_encoding="gzip")
        client.upload_blob(azure._prefix(url) + id, b"\x1f\x8b" + bytes(50), content_settings=settings)
    with pytest.raises(InvalidCiphertext, match="other bytes than were stored"):
        await store.get(id)
    await store.close()


def test_no_sdk_of_a_cloud_is_loaded_before_a_store_of_its_kind_is_named() -> None:
    code = (
        "import sys, envelope_codec, envelope_codec.plugin, envelope_codec.store\n"
        "from envelope_codec import EnvelopePlugin\n"
        "print(sorted({'azure', 'google.cloud', 'google.auth', 'boto3', 'requests'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}, check=True)
    assert done.stdout.strip() == "[]"
