"""Making keys: a new secret is wrapped by every master key that can."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from envelope_codec.envelope import NAMESPACE, Purpose, Recipient, Record
from envelope_codec.errors import EnvelopeError, KeyNotConfigured, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.draft import Draft
from envelope_codec.keys.keyset import KeySet, pick_decisive
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.sealing_key import Scope, Wrapped
from envelope_codec.keys.trial import Lack
from envelope_codec.keys.vouching import Leases
from envelope_codec.keys.witness import open_recipient
from envelope_codec.kms import MasterKey
from envelope_codec.observe import logger


class KeyMaker:
    """Makes keys to seal with. Runs in a thread; makes one KMS call after another.

    Args:
        key_sets: namespace to its master keys, or None where none are configured.
        opening_key_sets: the same for opening.
        calls: makes the calls.
        leases: vouch.
        verify: unwrap each new record once before it seals; off for roles that may only encrypt.
    """

    def __init__(
        self,
        key_sets: Callable[[str], KeySet | None],
        opening_key_sets: Callable[[str], KeySet | None],
        calls: KmsCalls,
        leases: Leases,
        *,
        verify: bool,
    ) -> None:
        self._key_sets = key_sets
        self._opening_key_sets = opening_key_sets
        self._calls = calls
        self._leases = leases
        self._verify = verify

    def find(self, scope: Scope) -> tuple[str, KeySet | None]:
        """Return the namespace of ``scope``, and the master keys that seal there."""
        return (scope, self._key_sets(scope)) if isinstance(scope, str) else scope

    def make(self, scope: Scope, purpose: Purpose, created: int | None = None) -> Wrapped:
        """Make a secret, and have it wrapped by every sealing master key that can.

        Args:
            scope: what it is for.
            purpose: of its record.
            created: when it is said to be made, in Unix seconds; now if None.

        Raises:
            KeyNotConfigured: there are no master keys, or fewer than must wrap.
            EnvelopeError: fewer than must wrap have done so; the error that decides.
        """
        namespace, key_set = self.find(scope)
        if key_set is None:
            raise KeyNotConfigured("no master key is configured for this namespace", operation="seal")
        created = int(self._calls.clock.time()) if created is None else created
        draft = Draft(purpose, created, {**key_set.context, NAMESPACE: namespace})
        making = _Making(draft, wanted=max(1, key_set.min_recipients))
        for number, master in self._in_turn(key_set):
            setting = key_set.setting(number)
            try:
                if making.suffices and self._is_out_of_reach(master):
                    raise KmsUnavailable("the KMS has not answered lately", operation="wrap", key_id=master.key_id)
                self._ask(master, making, number, purpose, key_set.lease)
            except EnvelopeError as error:
                making.fail(master, setting, error)
        return making.outcome()

    def try_out(self, master: MasterKey, context: Mapping[str, str]) -> None:
        """Have ``master`` do what it does for a new record, with a secret that is thrown away.

        Raises:
            EnvelopeError: it does not.
        """
        draft = Draft(Purpose.WRAPPING_KEY, int(self._calls.clock.time()), context)
        record = self._wrap(draft, master)
        if self._verify:
            recipient = record.recipients[0]
            self.check_opens(recipient.key_id, record.namespace)
            # Not by the leases: a trial vouches for nothing.
            self._calls.call("unwrap", master, record.namespace, lambda: open_recipient(record, recipient, master))

    def _in_turn(self, key_set: KeySet) -> list[tuple[int, MasterKey]]:
        """List the sealing master keys with their numbers; those that are known to be out of reach come last."""
        return sorted(enumerate(key_set.sealing), key=lambda numbered: self._calls.breaker(numbered[1]).is_open)

    def _ask(self, master: MasterKey, making: _Making, number: int, purpose: Purpose, seconds: float | None) -> None:
        """Have ``master`` wrap the secret. A wrapping key gets its lease."""
        record = self._wrap(making.draft, master)
        if making.has(record):
            return
        if purpose is Purpose.DATA_KEY:
            making.add(number, record.recipients[0], None)
        else:
            making.add(number, *self._first_lease(record, master, seconds))

    def _is_out_of_reach(self, master: MasterKey) -> bool:
        """Say whether ``master`` is known to be out of reach, and it is not yet time to ask again."""
        breaker = self._calls.breaker(master)
        return breaker.is_open and not breaker.take_probe(self._calls.clock.monotonic())

    def _wrap(self, draft: Draft, master: MasterKey) -> Record:
        """Return the record with this master key's recipient alone: so the provider's answer is checked by itself."""
        return self._calls.call("wrap", master, draft.kms_context[NAMESPACE], lambda: draft.wrap_by(master))

    def _first_lease(self, record: Record, master: MasterKey, seconds: float | None) -> tuple[Recipient, Lease]:
        """Return the recipient of a new record, opened once, and the lease.

        A record that can't be opened would lose a day of payloads.
        """
        if self._verify:
            self.check_opens(record.recipients[0].key_id, record.namespace)
            return self._leases.unwrap_new(record, master, seconds)
        return record.recipients[0], self._leases.vouch_by_wrapping(record, master, seconds)

    def check_opens(self, key_id: str, namespace: str) -> None:
        """Check that whoever has this configuration opens what a master key has wrapped, a resolver's choice included.

        Raises:
            KeyNotConfigured: it is not so. The log names the key.
        """
        key_set = self._opening_key_sets(namespace)
        if key_set is None or not any(master.accepts(key_id) for master in key_set.opening(key_id)):
            text = (
                "%s is not among the decrypt_keys of namespace %.200r, so it can't seal: add it there, and check with "
            )
            logger.error(text + "`envelope-codec doctor`", key_id, namespace)
            raise KeyNotConfigured("the master key is not configured for opening", operation="seal", key_id=key_id)


class _Making:
    """One secret, and which master keys have wrapped it so far.

    Args:
        draft: the secret.
        wanted: how many master keys must wrap it.
    """

    def __init__(self, draft: Draft, wanted: int) -> None:
        self.draft = draft
        self._wanted = wanted
        self._recipients: dict[str, tuple[int, Recipient]] = {}
        self._leases: list[Lease] = []
        self._lacks: list[Lack] = []

    @property
    def suffices(self) -> bool:
        """Whether enough master keys have wrapped the secret."""
        return len(self._recipients) >= self._wanted

    def has(self, record: Record) -> bool:
        """Say whether another master key has answered with the same key id."""
        return record.recipients[0].key_id in self._recipients

    def add(self, number: int, recipient: Recipient, lease: Lease | None) -> None:
        """Add a recipient. ``number`` says which place it has in the record that is made."""
        self._recipients[recipient.key_id] = number, recipient
        if lease is not None:
            self._leases.append(lease)

    def fail(self, master: MasterKey, setting: str, error: EnvelopeError) -> None:
        """Take note that ``master`` has not wrapped the secret."""
        error.setting = setting
        self._lacks.append(Lack(master, setting, error.fresh()))

    def outcome(self) -> Wrapped:
        """Return the key with its record.

        Raises:
            KeyNotConfigured: fewer master keys are configured than must wrap.
            EnvelopeError: fewer than must wrap have done so; the error that decides.
        """
        if self.suffices:
            recipients = [recipient for _, recipient in sorted(self._recipients.values(), key=lambda pair: pair[0])]
            record = self.draft.record(recipients)
            return Wrapped(record, self.draft.key, tuple(self._leases), tuple(self._lacks))
        if self._lacks:
            raise pick_decisive([lack.error for lack in self._lacks], "seal")
        raise KeyNotConfigured("key and backup_keys are fewer master keys than min_recipients", operation="seal")
