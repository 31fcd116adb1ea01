"""A backup of the keystore: whether what is restored from it would serve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from envelope_codec.cli.keys.configured_keys import opening_keys
from envelope_codec.cli.keys.master_keys import MasterKeys
from envelope_codec.cli.keystore_file import RowFile
from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import Recipient, unlock_head
from envelope_codec.errors import EnvelopeError, KeyNotConfigured, KmsUnavailable
from envelope_codec.keys.calls import translate_error
from envelope_codec.keystore_row import KeystoreRow
from envelope_codec.kms import MasterKey, WrappedSecret, unwrap_with

_SAMPLE = 16
_OF_EACH = 2


@dataclass
class BackupProbe:
    """A file of ``keystore export``, and what is known of it. A thread fills it in while it works.

    Attributes:
        path: of the file.
        defect: why it is no such file; empty if it is one.
        rows: how many it has. None: it has not been read to its end.
        compared: how many rows of the keystore were looked for in it.
        lacking: how many of those it has not got, or not with all their recipients.
        tried: how many of its rows were to be opened.
        opened: how many of those the configured master keys open.
        error: why the first one of the others does not open.
        sampled: whether all rows to be tried have been.
    """

    path: Path
    defect: str = ""
    rows: int | None = None
    compared: int = 0
    lacking: int = 0
    tried: int = 0
    opened: int = 0
    error: EnvelopeError | None = None
    sampled: bool = False
    _digests: set[bytes] = field(default_factory=set, repr=False)
    _sample: list[KeystoreRow] = field(default_factory=list, repr=False)

    def read(self, config: EnvelopeConfig) -> None:
        """Read the file. Of its rows digests are kept, and a sample of those that have a master key here.

        Raises:
            ConfigurationError: it is no such file, or is not whole.
        """
        count, seen = 0, dict[tuple[str, ...], int]()
        for row in RowFile(self.path).rows():
            count += 1
            self._digests.update(_digests(row))
            group = (row.namespace, *(recipient.key_id for recipient in row.verified))
            if len(self._sample) < _SAMPLE and seen.get(group, 0) < _OF_EACH and opening_keys(config, row.namespace):
                self._sample.append(row)
                seen[group] = seen.get(group, 0) + 1
        self.rows = count

    def compare(self, row: KeystoreRow) -> None:
        """Look for a row of the keystore, with all its recipients."""
        self.compared += 1
        self.lacking += not self._digests.issuperset(_digests(row))

    def open_sample(self, config: EnvelopeConfig, masters: MasterKeys) -> None:
        """Unwrap a recipient of each row of the sample with the master keys that are configured for its namespace."""
        for row in self._sample:
            self.tried += 1
            error = _open(row, config, masters)
            self.opened += error is None
            self.error = self.error or error
        self.sampled = True


def _open(row: KeystoreRow, config: EnvelopeConfig, masters: MasterKeys) -> EnvelopeError | None:
    """Return why no configured master key opens ``row``, or None if one does."""
    error: EnvelopeError = KeyNotConfigured("no master key is configured that its recipients name")
    for key in opening_keys(config, row.namespace):
        try:
            master = masters.get(key.given, opens=True)
        except Exception:  # the findings on master keys say why
            error = KmsUnavailable("a configured master key can't be loaded")
            continue
        for recipient in row.recipients:
            failure = _unwrap(row, recipient, master)
            if failure is None:
                return None
            error = error if isinstance(failure, KeyNotConfigured) else failure
    return error


def _unwrap(row: KeystoreRow, recipient: Recipient, master: MasterKey) -> EnvelopeError | None:
    try:
        if not master.accepts(recipient.key_id):
            return KeyNotConfigured("it is of another master key")
        wrapped = WrappedSecret(recipient.key_id, recipient.key_version, recipient.ciphertext)
        unlock_head(row.head, row.id, unwrap_with(master, wrapped, row.kms_context).secret)
    except BaseException as error:
        return translate_error(error, "unwrap", master)
    return None


def _digests(row: KeystoreRow) -> Iterator[bytes]:
    for recipient in row.recipients:
        parts = (recipient.key_id.encode(), recipient.key_version.encode(), recipient.ciphertext)
        yield sha256(row.key + b"".join(sha256(part).digest() for part in parts)).digest()[:16]
