"""The two master keys of a rewrap, and the readers that must open what it makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from envelope_codec._frames import frameless
from envelope_codec.cli.keys.row_opening import accepts, readers_of, unwrap_row
from envelope_codec.cli.rewrap.steps import KeyIds
from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import Recipient
from envelope_codec.errors import ConfigurationError, EnvelopeError
from envelope_codec.keys.calls import translate_error
from envelope_codec.keys.draft import Draft
from envelope_codec.keys.key_sets import KeySets, ListedKey, keys_of_entry, list_keys
from envelope_codec.keys.keyset import KeySet, pick_decisive
from envelope_codec.keystore_row import KeystoreRow
from envelope_codec.kms import MasterKey, master_key

_SAME = "--to: names the same master key as --from, or a replica of it"


class MasterKeys:
    """The master key that is to go, the one that is to come, and those that readers have.

    A row's recipients are unwrapped only by what is configured for the row's own namespace. Otherwise, whoever may
    encrypt under the old key of one namespace could have forged rows of another one wrapped anew.

    Args:
        old: unwraps.
        new: wraps. Readers unwrap what it made by their own master keys.
        opening: gives the master keys that open for a namespace.
        sealing: settings by which ``old`` still seals.
        made: master keys that are closed with this object.

    Attributes:
        ids: the key ids, of those that were learnt, that belong to the two master keys.
        calls_to_move: how many calls of a KMS `move` makes.
    """

    def __init__(
        self,
        old: MasterKey,
        new: MasterKey,
        opening: Callable[[str], KeySet | None],
        sealing: Iterable[str] = (),
        made: Iterable[MasterKey] = (),
    ) -> None:
        self.ids = KeyIds(frozenset((old.key_id,)), frozenset((new.key_id,)))
        self.sealing = tuple(sealing)
        self._old, self._new, self._opening = old, new, opening
        self._made = tuple(made)
        self._learnt: set[str] = set()
        self.calls_to_move = 3

    def learn(self, key_ids: Iterable[str]) -> None:
        """Find out which of ``key_ids`` belong to the two master keys. May ask a KMS, for an alias.

        Raises:
            ConfigurationError: one belongs to both.
            EnvelopeError: the KMS did not answer, or refused.
        """
        for key_id in set(key_ids) - self._learnt:
            is_old = key_id == self._old.key_id or accepts(self._old, key_id)
            is_new = key_id == self._new.key_id or accepts(self._new, key_id)
            if is_old and is_new:
                raise ConfigurationError(_SAME)
            self._learnt.add(key_id)
            self.ids = KeyIds(self.ids.old | {key_id} if is_old else self.ids.old, self._with_new(key_id, is_new))

    def check(self) -> None:
        """Raise `ConfigurationError` if the two are one master key. May ask a KMS."""
        self.learn((self._old.key_id, self._new.key_id))

    @frameless
    def prove(self, row: KeystoreRow, recipient: Recipient) -> None:
        """Unwrap ``recipient`` as a reader does, and check that it leads to the row's id.

        Raises:
            EnvelopeError: no reader of the row's namespace can do it.
        """
        errors: list[EnvelopeError] = []
        for reader in readers_of(self._opening, row, recipient):
            try:
                unwrap_row(reader, row, recipient)
                return
            except EnvelopeError as error:
                errors.append(error)
        raise pick_decisive(errors, "unwrap").fresh()

    @frameless
    def move(self, row: KeystoreRow, recipient: Recipient) -> Recipient:
        """Wrap with the new master key what ``recipient`` is of, and prove it as readers do. `calls_to_move` KMS calls.

        Raises:
            EnvelopeError: its ``operation`` says what failed: ``unwrap`` of ``recipient``, ``wrap``, or ``prove``.
        """
        readers_of(self._opening, row, recipient)
        made = self._rewrapped(row, recipient)
        try:
            self.prove(row, made)
        except EnvelopeError as error:
            failure = error.fresh()
        else:
            return made
        failure.operation = "prove"
        raise failure

    @frameless
    def try_new(self, row: KeystoreRow) -> None:
        """Wrap a random secret with the new master key in the context of ``row``, and unwrap it as readers do.

        Raises:
            EnvelopeError: its ``operation`` says which of the two calls failed.
        """
        try:
            record = Draft(row.purpose, int(time.time()), dict(row.context)).wrap_by(self._new)
        except Exception as error:
            failure = translate_error(error, "wrap", self._new)
            failure.operation = "wrap"
        else:
            made = record.recipients[0]
            self.learn((made.key_id,))
            self.prove(KeystoreRow(record.head, record.id, record.purpose, 0, record.context, ()), made)
            return
        raise failure

    def close(self) -> None:
        """Release the connections of the master keys that were made here."""
        for master in self._made:
            master.close()

    def _rewrapped(self, row: KeystoreRow, recipient: Recipient) -> Recipient:
        """Have the old master key unwrap ``recipient``, check the id, and have the new one wrap it."""
        secret = unwrap_row(self._old, row, recipient)
        try:
            made = self._new.wrap(secret, row.kms_context)
        except Exception as error:
            failure = translate_error(error, "wrap", self._new)
            failure.operation = "wrap"
        else:
            return Recipient(made.key_id, made.key_version, made.ciphertext)
        finally:
            secret = b""
        raise failure

    def _with_new(self, key_id: str, is_new: bool) -> frozenset[str]:
        return self.ids.new | {key_id} if is_new else self.ids.new


def load_master_keys(config: EnvelopeConfig, old: str, new: str) -> MasterKeys:
    """Make the master keys that a command names: by key id or key URI, as configured or with options of their own.

    Raises:
        ConfigurationError: a setting is wrong, or a name is no master key.
    """
    sets = KeySets(config)
    entries = ["", *config.namespaces] if config.key is not None else [*config.namespaces]
    listed = [one for entry in entries for one in list_keys(*keys_of_entry(config, entry))]
    made = {one.given: master_key(one.given) for one in listed if isinstance(one.given, str)}
    chosen = []
    for option, text in (("--from", old), ("--to", new)):
        configured = [key for given, key in made.items() if text in (given, key.key_id)]
        try:
            chosen.append(configured[0] if configured else made.setdefault(text, master_key(text)))
        except ConfigurationError as error:
            raise ConfigurationError(f"{option}: {error}") from None
    sealing = _sealing_with(chosen[0], listed, made)
    return MasterKeys(chosen[0], chosen[1], sets.opening, sealing, (*made.values(), *sets.built))


def _sealing_with(old: MasterKey, listed: Iterable[ListedKey], made: Mapping[str, MasterKey]) -> list[str]:
    """List the settings by which ``old`` still wraps, as far as that is known without asking a KMS."""
    sealing = ((one.setting, one.given) for one in listed if one.seals)
    return [setting for setting, given in sealing if isinstance(given, str) and made[given].key_id == old.key_id]
