"""A directory of payloads: each cause has a reason of its own, so that whoever reads it knows what to mend."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest

from envelope_codec.errors import EnvelopeError, PayloadMissing, StoreRefused, StoreUnavailable
from envelope_codec.storage.files import FileStore

ID = "ab" * 16


@pytest.mark.parametrize(
    ("code", "kind", "part"),
    [
        (errno.ENOENT, StoreRefused, "does not exist"),
        (errno.ENOTDIR, StoreRefused, "does not exist"),
        (errno.EACCES, StoreRefused, "permission"),
        (errno.EPERM, StoreRefused, "permission"),
        (errno.EROFS, StoreRefused, "read-only"),
        (errno.ENOSPC, StoreRefused, "full"),
        (errno.EDQUOT, StoreRefused, "quota"),
        (errno.EFBIG, StoreRefused, "as large"),
        (errno.EIO, StoreUnavailable, "did not do as it was asked"),
        (errno.ESTALE, StoreUnavailable, "did not do as it was asked"),
        (errno.EMFILE, StoreUnavailable, "did not do as it was asked"),
    ],
)
async def test_each_cause_has_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int, kind: type, part: str
) -> None:
    def fail(*_: object, **__: object) -> tuple[int, str]:
        raise OSError(code, "hush", f"{tmp_path}/hush")

    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("envelope_codec.datastore.folder.mkstemp", fail)
    store = FileStore(f"file://{tmp_path}")
    with pytest.raises(EnvelopeError) as caught:
        await store.put(ID, b"data")
    await store.close()
    assert type(caught.value) is kind
    assert part in str(caught.value)
    assert errno.errorcode[code] in caplog.text
    assert "hush" not in f"{caught.value} {caplog.text}"


async def test_a_file_in_place_of_the_directory_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = FileStore(f"file://{tmp_path}/file")
    for call in (store.put(ID, b""), store.get(ID)):
        with pytest.raises(StoreRefused, match="does not exist, or is none"):
            await call
    await store.close()


async def test_a_payload_that_is_not_there_is_no_matter_of_the_directory(tmp_path: Path) -> None:
    store = FileStore(f"file://{tmp_path}")
    with pytest.raises(PayloadMissing):
        await store.get(ID)
    await store.close()
