"""Authentication records: the key of each makes and checks the tags of wrapping keys that are shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from envelope_codec.envelope import NAMESPACE, Purpose, Record
from envelope_codec.errors import ConfigurationError
from envelope_codec.keys.draft import Draft
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.witness import open_recipient
from envelope_codec.keystore_change import publish
from envelope_codec.keystore_row import KeystoreRow


class Rows(Protocol):
    """What is needed of a keystore."""

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str: ...


class AuthRecord(NamedTuple):
    """An authentication record that was made, and its row."""

    namespace: str
    id: str
    row: KeystoreRow


def make_auth_record(namespace: str, key_set: KeySet) -> AuthRecord:
    """Have all master keys that seal in ``namespace`` wrap a new secret, and unwrap it once. Nothing keeps it.

    Raises:
        EnvelopeError: one of them did not.
    """
    draft = Draft(Purpose.SHARED_WRAPPING_KEY, 0, {**key_set.context, NAMESPACE: namespace})
    recipients = []
    for master in key_set.sealing:
        record: Record = draft.wrap_by(master)
        open_recipient(record, record.recipients[0], master)
        recipients.append(record.recipients[0])
    record = draft.record(recipients)
    return AuthRecord(namespace, record.id.hex(), publish(record))


async def keep(keystore: Rows, made: Sequence[AuthRecord]) -> None:
    """Write the rows of these records.

    Raises:
        EnvelopeError: the keystore gives no answer or refuses.
    """
    for record in made:
        await keystore.put(record.row.key, record.row.serialize(), None)


def settings_of(pinned: Sequence[str], made: Sequence[AuthRecord]) -> str:
    """Return the settings that have the new records count beside those that did before, as lines of TOML.

    Raises:
        ConfigurationError: there are too many.
    """
    ids = [*pinned, *(record.id for record in made)]
    if len(ids) > 64:
        raise ConfigurationError("keystore_auth: 64 ids at most; take out those that are not needed any more")
    listed = "".join(f'    "{one}",\n' for one in ids)
    return f"share_wrapping_keys = true\nkeystore_auth = [\n{listed}]"
