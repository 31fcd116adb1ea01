"""Sharing: a young wrapping key of the keystore is adopted, or the next one is made for all who share."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from envelope_codec.envelope import Purpose, Record, build_record
from envelope_codec.errors import (
    EnvelopeError,
    KeyDenied,
    KmsUnavailable,
    MalformedEnvelope,
    StoreRefused,
    StoreUnavailable,
)
from envelope_codec.keys.active_slot import ActiveSlot, Seen
from envelope_codec.keys.auth_keys import AuthKeys
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.key_maker import KeyMaker
from envelope_codec.keys.keyset import KeySet, pick_decisive
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.publication import Publication
from envelope_codec.keys.row_source import RowSource
from envelope_codec.keys.sealing_key import Scope, Wrapped
from envelope_codec.keys.vouching import Leases
from envelope_codec.keystore_change import publish
from envelope_codec.keystore_row import KeystoreRow, make_tag
from envelope_codec.keystore_sharing import MOST_AHEAD, Obstacle, Shared

_TRIES = 3  # to write an active slot that others write as well
_NOT_ADOPTED = "NotAdopted"
_NOT_SHARED = "NotShared"


class _Group(NamedTuple):
    """Those with whom a scope shares, and by what."""

    scope: Scope
    namespace: str
    key_set: KeySet
    shared: Shared


class Sharing:
    """Gets wrapping keys that several processes seal with. Runs in threads.

    Whatever is wrong with the keystore, or with what it says, is no error here: then each process makes its own.

    Args:
        source: the keystore.
        auth_ids: ids of the authentication records that count; the first that opens makes tags.
        calls: has clock and observer.
        maker: makes keys.
        leases: vouch.
        publication: publishes records.
        opens: returns the key of a record, which it unwraps if it is not at hand. Raises `EnvelopeError`.
        max_age: seconds for which a wrapping key seals.
    """

    def __init__(
        self,
        source: RowSource,
        auth_ids: Collection[bytes],
        calls: KmsCalls,
        maker: KeyMaker,
        leases: Leases,
        publication: Publication,
        opens: Callable[[Record], bytes],
        max_age: float,
    ) -> None:
        self._calls = calls
        self._maker = maker
        self._leases = leases
        self._publication = publication
        self._max_age = max_age
        self._slots = ActiveSlot(source, calls)
        self._auth = AuthKeys(self._slots, auth_ids, lambda namespace: maker.find(namespace)[1], opens)

    def obtain(self, scope: Scope, current: Record | None, newest: int, *, anew: bool = False) -> Wrapped | None:
        """Return a wrapping key to share: the others', or a new one that is theirs from now on.

        Args:
            scope: what it is for.
            current: the record of the key in use.
            newest: when the youngest key that has sealed in this scope was made, in Unix seconds. None that is as old
                is adopted.
            anew: make one in any case.

        Returns:
            None where nothing can be shared now.

        Raises:
            KmsUnavailable: no master key that seals here gives an answer, or the record can't be published.
            EnvelopeError: no key could be made, nor could one's own be.
        """
        group = self._group(scope)
        if group is None:
            return None
        try:
            seen = self._slots.read(group.namespace, group.shared, current)
            keys = self._auth_keys(group)
            if not keys:
                return None
            adopted = None if anew else self._adopt(group, seen, keys, newest)
            return adopted or self._make(group, seen, keys, newest, anew=anew)
        except (StoreUnavailable, StoreRefused):
            return None

    def find_younger(self, scope: Scope, current: Record, newest: int) -> Wrapped | None:
        """Return the others' wrapping key, if there is a younger one than ``newest``. Never raises an `EnvelopeError`.

        Args as of `obtain`.
        """
        group = self._group(scope)
        if group is None:
            return None
        try:
            seen = self._slots.read(group.namespace, group.shared, current)
            if seen.row is None or seen.row.created <= newest:
                return None
            return self._adopt(group, seen, self._auth_keys(group), newest)
        except EnvelopeError:
            return None

    def _group(self, scope: Scope) -> _Group | None:
        """Return with whom ``scope`` shares; None if it can't share now."""
        if self._slots.is_out:
            return None
        namespace, key_set = self._maker.find(scope)
        if key_set is None:
            return None
        shared = Shared(namespace, key_set.context, (master.key_id for master in key_set.sealing))
        return _Group(scope, namespace, key_set, shared)

    def _auth_keys(self, group: _Group) -> list[bytes]:
        """Return the keys by which tags are right; none if nothing can be shared. Raises as `AuthKeys.find` does."""
        reason = "the keystore has no record of keystore_auth for this namespace"
        try:
            keys = self._auth.find(group.namespace)
        except (StoreUnavailable, StoreRefused):
            raise
        except EnvelopeError as error:
            self._raise_in_outage(group, error)
            keys, reason = [], f"no record of keystore_auth opens: {error.reason}"
        if not keys:
            self._slots.tell(group.namespace, _NOT_SHARED, reason)
        return keys

    # --- the others' key ----------------------------------------------------------------------------------------------

    def _adopt(self, group: _Group, seen: Seen, keys: list[bytes], newest: int) -> Wrapped | None:
        """Return the wrapping key of the row that was seen, if this scope may seal with it."""
        row = seen.row
        if row is None or row.created <= newest:
            return None
        obstacle = self._obstacle(group, row, keys)
        if obstacle is not None:
            if obstacle is not Obstacle.TOO_OLD:
                self._slots.tell(group.namespace, _NOT_ADOPTED, f"the row that the active slot names: {obstacle.value}")
            return None
        try:
            return self._unwrap(group, build_record(row.head, row.id, row.verified))
        except (StoreUnavailable, StoreRefused, MalformedEnvelope) as error:
            reason = error.reason
        except EnvelopeError as error:
            self._raise_in_outage(group, error)
            reason = error.reason
        self._slots.tell(group.namespace, _NOT_ADOPTED, reason)
        return None

    def _unwrap(self, group: _Group, record: Record) -> Wrapped:
        """Have the master keys unwrap ``record``: each that does vouches for the key, as for one that is made here.

        Those that are known to be out of reach are asked only if no other does.

        Raises:
            EnvelopeError: none did; the error that decides.
        """
        masters = {master.key_id: master for master in group.key_set.sealing}
        pairs = [(recipient, masters[recipient.key_id]) for recipient in record.recipients]
        found, errors = dict[Lease, bytes](), list[EnvelopeError]()
        for recipient, master in sorted(pairs, key=lambda pair: self._calls.breaker(pair[1]).is_open):
            if found and self._calls.breaker(master).is_open:
                break
            try:
                self._maker.check_opens(recipient.key_id, group.namespace)
                key, lease = self._leases.unwrap(record, recipient, master, group.key_set.lease)
            except EnvelopeError as error:
                errors.append(error.fresh())
            else:
                found[lease] = key
        if not found:
            raise pick_decisive(errors, "unwrap")
        return Wrapped(record, next(iter(found.values())), tuple(found), ())

    def _obstacle(self, group: _Group, row: KeystoreRow, keys: list[bytes]) -> Obstacle | None:
        return group.shared.find_obstacle(row, keys, self._calls.clock.time(), self._max_age)

    def _raise_in_outage(self, group: _Group, error: EnvelopeError) -> None:
        """Raise ``error`` where no key of one's own could be made either: then sharing is tried again, not given up."""
        out = all(self._calls.breaker(master).is_open for master in group.key_set.sealing)
        if out and isinstance(error, KmsUnavailable):
            raise error.fresh()

    # --- a key for the others -----------------------------------------------------------------------------------------

    def _make(self, group: _Group, seen: Seen, keys: list[bytes], newest: int, *, anew: bool) -> Wrapped | None:
        """Make a key, publish it with its tag, and have the active slot name it.

        Returns:
            That key, or the one of whoever was quicker. None if a master key does not wrap shared keys.
        """
        self._publication.check()
        try:
            created = self._created(group, seen, keys, newest)
            made = self._maker.make(group.scope, Purpose.SHARED_WRAPPING_KEY, created)
        except KeyDenied as error:
            self._slots.tell(group.namespace, _NOT_SHARED, f"no shared wrapping key could be made: {error.reason}")
            return None
        row = publish(made.record)
        tag = make_tag(row, keys[0])
        if not self._publication.publish(made.record, tag):
            return made
        return self._offer(group, seen, keys, newest, made, anew=anew)

    def _created(self, group: _Group, seen: Seen, keys: list[bytes], newest: int) -> int:
        """Return when the next key is made: after those before it, as far as clocks may differ."""
        now = int(self._calls.clock.time())
        if seen.row is not None and self._obstacle(group, seen.row, keys) is None:
            newest = max(newest, seen.row.created)
        return newest + 1 if now <= newest < now + MOST_AHEAD - 1 else now

    def _offer(
        self, group: _Group, seen: Seen, keys: list[bytes], newest: int, made: Wrapped, *, anew: bool
    ) -> Wrapped:
        """Have the active slot name the row of ``made``. Return the key to seal with: that one, or the winner's."""
        row = publish(made.record)
        fits = group.shared.fits(row)
        if not fits:
            if not made.lacks:
                reason = "a master key is configured by another name than its own id, such as an alias"
                self._slots.tell(group.namespace, _NOT_SHARED, reason)
            return made
        try:
            for _ in range(_TRIES):
                if self._slots.write(group.namespace, group.shared, row.key, seen.revision):
                    return made
                seen = self._slots.read(group.namespace, group.shared, made.record)
                adopted = None if anew else self._adopt(group, seen, keys, newest)
                if adopted is not None:
                    return adopted
        except EnvelopeError:  # the key is published, and seals here alone
            return made
        return made
