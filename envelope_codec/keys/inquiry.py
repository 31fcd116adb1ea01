"""An inquiry: the master keys that may open one record, asked one after another."""

from __future__ import annotations

import math
from collections.abc import Container, Generator, Iterable, Iterator

from envelope_codec.envelope import MAX_RECIPIENTS, Recipient, Record
from envelope_codec.errors import EnvelopeError, KeyDenied, KeyNotConfigured, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls, translate_error
from envelope_codec.keys.keyset import KeySet, pick_decisive
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.lookups import Lookups
from envelope_codec.keys.vouching import Leases
from envelope_codec.kms import MasterKey
from envelope_codec.observe import logger

Refusals = dict[tuple[int, int], tuple[EnvelopeError, float]]
"""What a master key said of a record, and until when (monotonic seconds) it is not asked again.

By the master key's identity, and how often it had been asked in the same attempt.
"""


class Inquiry:
    """The master keys for one record, asked one after another. Runs in a thread.

    First they are asked for the recipients in the envelope. If none of those serves, they are asked for the recipients
    in the record's row in the keystore. Over both, each is asked once at most. One that has answered is asked a second
    time where the row has a ciphertext of another version of the very master key that the envelope named.

    Args:
        calls: makes the calls.
        leases: vouch.
        lookups: find rows of the keystore.
        record: to be opened.
        key_set: of the record's namespace, if there is one.
        refusals: what earlier attempts came to.
        refusal_ttl: seconds for which a denial is not asked for again.
    """

    def __init__(
        self,
        calls: KmsCalls,
        leases: Leases,
        lookups: Lookups,
        record: Record,
        key_set: KeySet | None,
        refusals: Refusals,
        refusal_ttl: float,
    ) -> None:
        self._calls = calls
        self._leases = leases
        self._lookups = lookups
        self._record = record
        self._key_set = key_set
        self._refusals = refusals
        self._refusal_ttl = refusal_ttl
        self._errors: list[EnvelopeError] = []
        self._unsure: list[tuple[str, EnvelopeError]] = []
        self._unread: list[EnvelopeError] = []  # why the keystore could not be read
        self._accepted: set[str] = set()
        self._asked: dict[int, list[Recipient]] = {}  # by identity of the master key
        self._silent: set[int] = set()  # identities of those that gave no answer
        self._calls_made = 0
        self._cut_short = False  # whether the row, or a recipient of it, was passed over since eight calls were made
        self._row: tuple[tuple[Recipient, ...], ...] | None = None

    def pairs(self, only: Container[int] | None = None) -> Iterator[tuple[Recipient, MasterKey]]:
        """Yield recipients, each with a master key that may be asked for it: those in the envelope, then the row's.

        ``only`` limits that to the master keys with these identities. A master key that the record names is asked for
        its own recipient alone. Once one has been asked for a recipient, the other recipients come first: several
        master keys may accept the same key ids, and are not all spent on one recipient.

        The keystore is asked once, and only if some master key could still serve. Its recipients get no more calls than
        eight with those before. None are set aside for them: else whoever writes to the keystore could take the place
        of a recipient of the envelope that serves. A refusal that is remembered is no call.
        """
        yield from self._in_turn(self._record.recipients, only)
        if self._needs_row(only):
            for recipients in self._recipients_of_row():
                for pair in self._in_turn(recipients, only):
                    if self._calls_made >= MAX_RECIPIENTS:
                        self._cut_short = True
                        return
                    yield pair

    def is_configured(self) -> bool:
        """Say whether a master key accepts a recipient, whether or not it would serve. Takes note of failures.

        Called before any is asked.
        """
        return any(self.accepts(recipient, master) for recipient, master in self._all_pairs())

    def accepts(self, recipient: Recipient, master: MasterKey) -> bool:
        """Say whether ``master`` opens such recipients. May ask the KMS. Takes note of a failure."""
        try:
            accepted = master.accepts(recipient.key_id)
        except BaseException as error:
            failure = translate_error(error, "open", master)
            self._calls.note(master, failure)
            self._unsure.append((recipient.key_id, failure))
            return False
        if accepted:
            self._accepted.add(recipient.key_id)
        return accepted

    def ask(self, recipient: Recipient, master: MasterKey) -> tuple[bytes, Lease] | None:
        """Return the key and the lease that this recipient yields, if ``master`` opens it. Takes note of a failure."""
        if not self._may_ask(recipient, master) or not self.accepts(recipient, master):
            return None
        before = self._asked.setdefault(id(master), [])
        turn = id(master), len(before)
        before.append(recipient)
        now = self._calls.clock.monotonic()
        refusal = self._refusals.get(turn)
        if refusal is not None and now < refusal[1]:
            self._errors.append(refusal[0].fresh())
            return None
        seconds = self._key_set.lease if self._key_set is not None else None
        self._calls_made += 1
        try:
            return self._leases.unwrap(self._record, recipient, master, seconds)
        except EnvelopeError as error:
            self._errors.append(error)
            if isinstance(error, KmsUnavailable):
                self._silent.add(id(master))
            else:
                asked_again = now + self._refusal_ttl if isinstance(error, KeyDenied) else math.inf
                self._refusals[turn] = error.fresh(), asked_again
            return None

    def outcome(self) -> EnvelopeError:
        """Return the one error that decides, where no master key has yielded the key.

        A master key that could not say whether a recipient is its own does not matter where another one said so.
        """
        unsure = [error for key_id, error in self._unsure if key_id not in self._accepted]
        outcome = pick_decisive([*self._errors, *unsure, *self._unread], "open")
        if self._cut_short:
            log_cut_short(self._record)
        elif self._row == () and isinstance(outcome, (KeyDenied, KeyNotConfigured)):
            log_rowless(self._record)
        return outcome

    @property
    def _masters(self) -> tuple[MasterKey, ...]:
        return self._key_set.masters if self._key_set is not None else ()

    def _may_ask(self, recipient: Recipient, master: MasterKey) -> bool:
        """Say whether ``master`` may be asked for ``recipient`` after what it has been asked."""
        asked = self._asked.get(id(master))
        if not asked:
            return True
        first = asked[0]
        renewed = first.key_id == recipient.key_id and first.key_version != recipient.key_version
        return renewed and len(asked) == 1 and id(master) not in self._silent

    def _needs_row(self, only: Container[int] | None) -> bool:
        """Say whether one of the master keys may still be asked for some recipient that a row might have.

        With ``only`` None, those that are known to be out of reach are asked later.
        """
        if not self._lookups.cover(self._record) or not any(self._is_left(master, only) for master in self._masters):
            return False
        self._cut_short = self._calls_made >= MAX_RECIPIENTS
        return not self._cut_short

    def _is_left(self, master: MasterKey, only: Container[int] | None) -> bool:
        """Say whether ``master`` may still be asked for some recipient, whichever that is."""
        due = not self._calls.breaker(master).is_open if only is None else id(master) in only
        return due and id(master) not in self._silent and len(self._asked.get(id(master), ())) < 2

    def _recipients_of_row(self) -> tuple[tuple[Recipient, ...], ...]:
        """Return the verified and the imported recipients of the record's row. Takes note if it can't be read."""
        if self._row is None:
            self._row = ()
            try:
                row = self._lookups.find(self._record)
            except KmsUnavailable as error:
                self._unread.append(error)
            else:
                self._row = (row.verified, row.imported) if row is not None else ()
        return self._row

    def _all_pairs(self) -> Iterator[tuple[Recipient, MasterKey]]:
        """Yield each recipient with each master key that may accept it."""
        yield from self._in_turn(self._record.recipients, None)
        if self._masters:
            for recipients in self._recipients_of_row():
                yield from self._in_turn(recipients, None)

    def _in_turn(
        self, recipients: Iterable[Recipient], only: Container[int] | None
    ) -> Iterator[tuple[Recipient, MasterKey]]:
        listed = list(recipients)
        named = {recipient.key_id for recipient in listed}
        waiting = [(recipient, self._candidates(recipient, named, only)) for recipient in listed]
        while waiting:
            turn, waiting = waiting, []
            for recipient, masters in turn:
                asked = yield from self._offer(recipient, masters)
                if asked:
                    waiting.append((recipient, masters))

    def _candidates(
        self, recipient: Recipient, named: Container[str], only: Container[int] | None
    ) -> Iterator[MasterKey]:
        """Yield the master keys that may open ``recipient`` and may be asked for it by then."""
        for master in self._key_set.opening(recipient.key_id) if self._key_set is not None else ():
            fits = master.key_id == recipient.key_id or master.key_id not in named
            if fits and (only is None or id(master) in only) and self._may_ask(recipient, master):
                yield master

    def _offer(
        self, recipient: Recipient, masters: Iterator[MasterKey]
    ) -> Generator[tuple[Recipient, MasterKey], None, bool]:
        """Yield ``recipient`` with one master key after another until one has been asked. Return whether one has."""
        for master in masters:
            yield recipient, master
            if recipient in self._asked.get(id(master), ()):
                return True
        return False


def log_unconfigured(record: Record) -> None:
    """Log that no master key of ``record`` is configured: in the log alone, and quoted.

    Whoever can write to Temporal can make these names up.
    """
    text = "no master key of %.600r is configured for namespace %.200r: add it to decrypt_keys, if it is one of "
    text += "yours, and check with `envelope-codec doctor`; if it was retired, name its keystore: docs/rekeying.md"
    logger.warning(text, [recipient.key_id for recipient in record.recipients], record.namespace)


def log_rowless(record: Record) -> None:
    """Log that the keystore has nothing of ``record``, which no master key has opened, and what to do."""
    text = "the keystore has no row of the record %s of namespace %.200r, which names %.600r: restore a backup of the "
    text += "keystore, or enable the master key and run `envelope-codec audit --import` (docs/rekeying.md)"
    logger.warning(text, record.id.hex(), record.namespace, [recipient.key_id for recipient in record.recipients])


def log_cut_short(record: Record) -> None:
    """Log that the row of ``record`` was not asked for all that it has, and what to do."""
    text = "the record %s of namespace %.200r has cost eight calls, and what the keystore has of it was passed over: "
    text += "take master keys that are gone out of the configuration of that namespace"
    logger.warning(text, record.id.hex(), record.namespace)
