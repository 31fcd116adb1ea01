"""The key file as the conformance suite sees it. Keys are made and changed as ``envelope-codec keygen`` does it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from envelope_codec.cli.keygen import change_key_file, create_key_file, key_uri
from envelope_codec.kms import MasterKey, master_key, parse_key_uri
from envelope_codec_local.key_file import ALL, KeyFile


class LocalHarness:
    name = "local"
    tells_versions = True
    has_network = False

    def __init__(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.folder = tmp_path_factory.mktemp("keys")

    def create_key(self) -> str:
        path = self.folder / f"key {uuid4().hex}.json"
        create_key_file(path)
        return key_uri(path)

    def open(self, uri: str, *, endpoint: str | None = None, read_timeout: float | None = None) -> MasterKey:
        assert endpoint is None
        return master_key(uri)

    def rotate(self, uri: str) -> None:
        change_key_file(path_of(uri), KeyFile.rotated)

    def disable(self, uri: str) -> None:
        change_key_file(path_of(uri), lambda file: replace(file, disabled=file.disabled | {ALL}))

    def enable(self, uri: str) -> None:
        change_key_file(path_of(uri), lambda file: replace(file, disabled=file.disabled - {ALL}))

    def schedule_deletion(self, uri: str) -> None:
        """The key material is gone at once: the file holds another key."""
        change_key_file(path_of(uri), lambda file: KeyFile.generate())


def path_of(uri: str) -> Path:
    return Path("/", parse_key_uri(uri, scheme="localfile").path)
