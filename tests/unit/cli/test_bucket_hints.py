"""What to do about errors of object stores: the permissions are those that the documents name."""

from __future__ import annotations

from pathlib import Path

import pytest

from envelope_codec.cli import bucket_hints
from envelope_codec.cli.store_hint import TO_READ_AND_LIST

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("scheme", "permissions"), [("azblob", bucket_hints.AZURE_PERMISSIONS), ("gs", bucket_hints.GCS_PERMISSIONS)]
)
def test_the_page_on_storage_names_the_same_permissions(scheme: str, permissions: tuple[str, str]) -> None:
    page = (ROOT / "docs" / "storage.md").read_text("utf-8")
    for permission in {*permissions[0].split(" and "), permissions[1], *TO_READ_AND_LIST.get(scheme, ())}:
        assert permission in page
