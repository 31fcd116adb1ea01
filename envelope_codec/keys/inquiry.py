"""An inquiry: the master keys that may open one record, asked one after another."""

from __future__ import annotations

import math
from collections.abc import Container, Generator, Iterator

from envelope_codec.envelope import Recipient, Record
from envelope_codec.errors import EnvelopeError, KeyDenied, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls, translate_error
from envelope_codec.keys.keyset import KeySet, pick_decisive
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.vouching import Leases
from envelope_codec.kms import MasterKey
from envelope_codec.observe import logger

Refusals = dict[int, tuple[EnvelopeError, float]]
"""By identity of a master key: what it said of a record, and until when (monotonic seconds) it is not asked again."""


class Inquiry:
    """The master keys for one record, asked one after another, each once at most. Runs in a thread.

    Args:
        calls: makes the calls.
        leases: vouch.
        record: to be opened.
        key_set: of the record's namespace, if there is one.
        refusals: what earlier attempts came to.
        refusal_ttl: seconds for which a denial is not asked for again.
    """

    def __init__(
        self,
        calls: KmsCalls,
        leases: Leases,
        record: Record,
        key_set: KeySet | None,
        refusals: Refusals,
        refusal_ttl: float,
    ) -> None:
        self._calls = calls
        self._leases = leases
        self._record = record
        self._key_set = key_set
        self._refusals = refusals
        self._refusal_ttl = refusal_ttl
        self._named = {recipient.key_id for recipient in record.recipients}
        self._errors: list[EnvelopeError] = []
        self._unsure: list[tuple[str, EnvelopeError]] = []
        self._accepted: set[str] = set()
        self._asked: set[int] = set()

    def pairs(self, only: Container[int] | None = None) -> Iterator[tuple[Recipient, MasterKey]]:
        """Yield recipients in the record's order, each with a master key that may be asked for it.

        ``only`` limits that to the master keys with these identities. A master key that the record names is asked for
        its own recipient alone. Once one has been asked for a recipient, the other recipients come first: several
        master keys may accept the same key ids, and are not all spent on one recipient.
        """
        waiting = [(recipient, self._candidates(recipient, only)) for recipient in self._record.recipients]
        while waiting:
            turn, waiting = waiting, []
            for recipient, masters in turn:
                asked = yield from self._offer(recipient, masters)
                if asked:
                    waiting.append((recipient, masters))

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
        if id(master) in self._asked or not self.accepts(recipient, master):
            return None
        self._asked.add(id(master))
        now = self._calls.clock.monotonic()
        refusal = self._refusals.get(id(master))
        if refusal is not None and now < refusal[1]:
            self._errors.append(refusal[0].fresh())
            return None
        seconds = self._key_set.lease if self._key_set is not None else None
        try:
            return self._leases.unwrap(self._record, recipient, master, seconds)
        except EnvelopeError as error:
            self._errors.append(error)
            if not isinstance(error, KmsUnavailable):
                asked_again = now + self._refusal_ttl if isinstance(error, KeyDenied) else math.inf
                self._refusals[id(master)] = error.fresh(), asked_again
            return None

    def outcome(self) -> EnvelopeError:
        """Return the one error that decides, where no master key has yielded the key.

        A master key that could not say whether a recipient is its own does not matter where another one said so.
        """
        unsure = [error for key_id, error in self._unsure if key_id not in self._accepted]
        return pick_decisive([*self._errors, *unsure], "open")

    def _candidates(self, recipient: Recipient, only: Container[int] | None) -> Iterator[MasterKey]:
        """Yield the master keys that may open ``recipient`` and have not been asked by then."""
        for master in self._key_set.opening(recipient.key_id) if self._key_set is not None else ():
            fits = master.key_id == recipient.key_id or master.key_id not in self._named
            if fits and id(master) not in self._asked and (only is None or id(master) in only):
                yield master

    def _offer(
        self, recipient: Recipient, masters: Iterator[MasterKey]
    ) -> Generator[tuple[Recipient, MasterKey], None, bool]:
        """Yield ``recipient`` with one master key after another until one has been asked. Return whether one has."""
        for master in masters:
            yield recipient, master
            if id(master) in self._asked:
                return True
        return False


def log_unconfigured(record: Record) -> None:
    """Log that no master key of ``record`` is configured: in the log alone, and quoted.

    Whoever can write to Temporal can make these names up.
    """
    text = "no master key of %.600r is configured for namespace %.200r: add it to decrypt_keys, if it is one of "
    text += "yours, and check with `envelope-codec doctor`"
    logger.warning(text, [recipient.key_id for recipient in record.recipients], record.namespace)
