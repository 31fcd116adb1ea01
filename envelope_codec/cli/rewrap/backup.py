"""A backup, as the proof that what a rewrap added is in a second place before anything is taken away."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from envelope_codec.cli.keystore_file import RowFile
from envelope_codec.cli.rewrap.steps import KeyIds, under
from envelope_codec.envelope import Recipient


class Backup:
    """The recipients of the new master key that a file of ``envelope-codec keystore export`` has.

    A recipient of a rewrap is made by that rewrap alone. So a backup that has it was made afterwards.

    Args:
        path: of the file. It is read once; digests alone are kept.
        ids: of the master keys.

    Raises:
        ConfigurationError: it is no such file, or is not whole.
    """

    def __init__(self, path: Path, ids: KeyIds) -> None:
        self._digests = {
            _digest(row.key, recipient) for row in RowFile(path).rows() for recipient in under(ids.new, row.verified)
        }

    def has(self, key: bytes, recipient: Recipient) -> bool:
        """Say whether the row of this key has exactly this verified recipient there."""
        return _digest(key, recipient) in self._digests


def _digest(key: bytes, recipient: Recipient) -> bytes:
    parts = (recipient.key_id.encode(), recipient.key_version.encode(), recipient.ciphertext)
    return sha256(key + b"".join(sha256(part).digest() for part in parts)).digest()
