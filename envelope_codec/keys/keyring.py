"""The keyring: the key that seals now, and the keys at hand for opening."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection

from envelope_codec._frames import frameless_async, text_of
from envelope_codec._process import in_child
from envelope_codec.envelope import Record
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.clock import Clock, SystemClock
from envelope_codec.keys.direct import DirectKeys
from envelope_codec.keys.foreign_keys import ForeignKeys, ForeignWrap
from envelope_codec.keys.inventory import Inventory
from envelope_codec.keys.key_maker import KeyMaker
from envelope_codec.keys.keyset import KeySet, SealingContext
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.limits import Limits
from envelope_codec.keys.lookout import Lookout
from envelope_codec.keys.lookups import Lookups
from envelope_codec.keys.opening import OpeningKeys
from envelope_codec.keys.publication import Publication
from envelope_codec.keys.row_source import RowSource
from envelope_codec.keys.sealing import SealingKeys
from envelope_codec.keys.sealing_key import Scope, SealingKey
from envelope_codec.keys.sharing import Sharing
from envelope_codec.keys.status import KeyringStatus
from envelope_codec.keys.succession import Succession
from envelope_codec.keys.vouching import Leases
from envelope_codec.kms import MasterKey
from envelope_codec.observe import Event, LogObserver, Observer, logger, report, tell_observer


class Keyring:
    """Keys for sealing and opening, unwrapped, each used only under a live lease.

    Calls of a KMS run in the keyring's own threads, once for all callers that want the same; event loops only wait. One
    keyring serves any number of event loops and threads, and starts empty in the child of a fork.

    `EnvelopeConfig.keyring` makes one from settings, and is what most programs want. What this constructor takes is
    exported by `envelope_codec.keys`.

    Args:
        key_sets: namespace to its master keys, or None where none are configured. Must be quick.
        opening_key_sets: the same for the namespace of a record that is to be opened; ``key_sets`` if None.
        resolve: the key set for sealing in a context, or None for its namespace's usual one. Must be quick.
        direct: the KMS wraps every data key itself; there are no wrapping keys.
        verify_wraps: unwrap each new record once before it seals. Off for roles that may only encrypt.
        limits: times and bounds.
        observer: receives an `Event` for each KMS call; `LogObserver` if None.
        clock: where the time comes from; the system's, with a timer thread of the keyring's own, if None.
        spawn: runs a function in some thread; the keyring's own pool if None.
        jitter: a number from 0 to 1, for spreading retries and renewals.
        owned: master keys to close with the keyring.
        keystore: where records of wrapping keys are, with recipients that were added later. Closed with the keyring.
        publishing_required: whether a wrapping key seals only once its record is in ``keystore``. If not, a record that
            can't be published is queued, and the key seals.
        keystore_auth: ids of authentication records in ``keystore``: wrapping keys are shared with those who have the
            same. Empty: none is shared; nor is any without ``verify_wraps``.
    """

    def __init__(
        self,
        key_sets: Callable[[str], KeySet | None],
        *,
        opening_key_sets: Callable[[str], KeySet | None] | None = None,
        resolve: Callable[[SealingContext], KeySet | None] | None = None,
        direct: bool = False,
        verify_wraps: bool = True,
        limits: Limits | None = None,
        observer: Observer | None = None,
        clock: Clock | None = None,
        spawn: Callable[[Callable[[], None]], object] | None = None,
        jitter: Callable[[], float] = random.random,
        owned: Collection[MasterKey] = (),
        keystore: RowSource | None = None,
        publishing_required: bool = True,
        keystore_auth: Collection[bytes] = (),
    ) -> None:
        self.direct = direct
        self.limits = limits or Limits()
        self.observer: Observer = LogObserver() if observer is None else observer
        self._key_sets = key_sets
        self._resolve = resolve
        self._opening_key_sets = opening_key_sets or key_sets
        self._verify_wraps = verify_wraps
        self._own_clock = SystemClock() if clock is None else None
        self._clock: Clock = clock or self._own_clock or SystemClock()
        self._spawn = spawn
        self._jitter = jitter
        self._owned = owned
        self._keystore = keystore
        self._publishing_required = publishing_required
        self._keystore_auth = tuple(keystore_auth)
        self._build()
        in_child(self, Keyring._begin_anew)
        tell_observer(self.observer, "watch_keyring", self)

    def _build(self) -> None:
        limits = self.limits
        self._calls = KmsCalls(clock=self._clock, observer=self.observer, spawn=self._spawn, jitter=self._jitter)
        self._leases = Leases(
            self._calls,
            seconds=limits.lease,
            grace=limits.outage_grace,
            pause=limits.refusal_ttl,
            wipe=self._wipe,
            renewed=self._look,
        )
        lookups = Lookups(self._keystore, self._calls, limits)
        self._opening = OpeningKeys(self._opening_key_sets, self._calls, self._leases, limits, lookups)
        self._foreign = ForeignKeys(self._opening_key_sets, self._calls, limits, grace=not self.direct)
        maker = KeyMaker(self._key_sets, self._opening_key_sets, self._calls, self._leases, verify=self._verify_wraps)
        self._publication = Publication(self._keystore, self._calls, required=self._publishing_required)
        opened = self._opening.keep_own
        sharing = self._sharing(maker)
        succession = Succession(self._calls, maker, self._leases, limits, self._publication, opened, sharing)
        self._lookout = Lookout(self._calls, succession.look) if sharing is not None else None
        self._waits = succession.waits
        self._sealing = SealingKeys(self._calls, self._leases, succession)
        self._direct = DirectKeys(
            self._calls, maker, succession.slots, succession.waits, refusal_ttl=limits.refusal_ttl
        )
        self._inventory = Inventory(
            self._calls,
            self._leases.register,
            succession.slots,
            maker,
            self._opening,
            self._foreign,
            self._publication,
        )

    def _sharing(self, maker: KeyMaker) -> Sharing | None:
        if self._keystore is None or not self._keystore_auth or not self._verify_wraps:
            return None  # who can't unwrap can't check what others publish
        return Sharing(
            self._keystore,
            self._keystore_auth,
            self._calls,
            maker,
            self._leases,
            self._publication,
            self._opening.get_here,
            self.limits.max_age,
        )

    @property
    def clock(self) -> Clock:
        """Where the time comes from."""
        return self._clock

    def try_sealing_key(self, scope: Scope) -> SealingKey | None:
        """Return the key that seals the next payload, if it is at hand; count that payload. Never waits.

        Direct mode has none at hand.
        """
        return self._sealing.at_hand(scope)

    def try_opening_key(self, record: Record) -> bytes | None:
        """Return the key that ``record`` carries, if it is at hand. Never waits."""
        return self._opening.at_hand(record)

    def fetch_ahead(self, record: Record) -> bool:
        """Begin to fetch the key of ``record``, which is not at hand and will be asked for soon. Never waits.

        It is one attempt for one record at most, and no more than eight are under way for all callers together.

        Returns:
            Whether more may be begun now.
        """
        return self._opening.fetch_ahead(record)

    def opens_foreign(self, namespace: str, key_id: str) -> bool:
        """Say whether ``namespace`` may open what another program sealed under what it calls ``key_id``."""
        return self._foreign.covers(namespace, key_id)

    def try_foreign_key(self, namespace: str, wrap: ForeignWrap) -> bytes | None:
        """Return the data key of another program, if it is at hand for ``namespace``. Never waits."""
        return self._foreign.at_hand(namespace, wrap)

    @frameless_async
    async def foreign_key(self, namespace: str, wrap: ForeignWrap, *, timeout: float | None = None) -> bytes:
        """Return the data key of another program, for opening what it sealed.

        Args:
            namespace: the Temporal namespace in which it is opened.
            wrap: the data key as that program had it wrapped. Nothing of it is believed.
            timeout: seconds to wait for the KMS; `Limits.timeout` if None.

        Raises:
            KeyNotConfigured, KeyDenied, InvalidCiphertext: no master key that is configured for it yields it.
            KmsUnavailable: none could be asked in time.
        """
        deadline = self._deadline(self.limits.timeout if timeout is None else timeout)
        return await self._foreign.get(namespace, wrap, deadline)

    def note_opened(self, record: Record) -> None:
        """Take note that a payload was opened with the key of ``record``: then its lease is renewed in time."""
        self._opening.note_use(record)

    def seals(self, namespace: str) -> bool:
        """Say whether ``namespace`` has master keys to seal with."""
        return self._key_sets(namespace) is not None

    @property
    def resolves(self) -> bool:
        """Whether more than the namespace decides which master keys seal."""
        return self._resolve is not None

    def find_scope(self, context: SealingContext) -> Scope:
        """Return what `sealing_key` needs to know of a payload: its namespace, with master keys of its own, if any.

        Raises:
            KeyNotConfigured: the resolver gave no master key of use.
        """
        key_set = self._resolve(context) if self._resolve is not None else None
        return context.namespace if key_set is None else (context.namespace, key_set)

    @frameless_async
    async def sealing_key(self, scope: Scope, *, timeout: float | None = None) -> SealingKey:
        """Return the key that seals the next payload; count that payload.

        Args:
            scope: the Temporal namespace that seals, or that and other master keys than its usual ones.
            timeout: seconds to wait for the KMS; `Limits.timeout` if None.

        Raises:
            KeyNotConfigured, KeyDenied, InvalidCiphertext: there is none to be had. Where user code has run
                (`patience`), a refusal is waited out until the same time.
            KmsUnavailable: no KMS has answered in time.
        """
        deadline = self._deadline(self.limits.timeout if timeout is None else timeout)
        if self.direct:
            return await self._direct.get(scope, deadline)
        return await self._sealing.get(scope, deadline)

    @frameless_async
    async def opening_key(self, record: Record, *, timeout: float | None = None) -> bytes:
        """Return the key that ``record`` carries: a wrapping key, or in direct mode a data key.

        Args:
            record: what `envelope.parse` returned, so its form is valid.
            timeout: seconds to wait for the KMS; `Limits.timeout` if None.

        Raises:
            KeyNotConfigured, KeyDenied, InvalidCiphertext: no configured recipient yields it.
            KmsUnavailable: none could be asked in time.
        """
        return await self._opening.get(record, self._deadline(self.limits.timeout if timeout is None else timeout))

    @frameless_async
    async def prewarm(self, scope: Scope, *, timeout: float = math.inf) -> None:
        """Return as soon as there is a live key to seal with.

        Direct mode has none to obtain. There it is enough that the last payload could be sealed; if not, or at first,
        one wrap is tried until it succeeds.

        Raises:
            EnvelopeError: as `sealing_key`.
        """
        if self.direct:
            await self._direct.prove(scope, self._deadline(timeout))
        else:
            await self._sealing.prewarm(scope, self._deadline(timeout))

    async def pause_at_start(self, scope: Scope, seconds: float) -> None:
        """Wait up to so many seconds, unless this process has had a key for ``scope``. Ends as soon as it has one.

        For workers that start: the processes of one deploy then ask the KMS at different moments.

        Raises:
            KmsUnavailable: the keyring has been closed.
        """
        await self._waits.pause_at_start(scope, seconds)

    @frameless_async
    async def renew(self, *, timeout: float | None = None) -> None:
        """Replace every wrapping key that seals by a new one, as after new key material was made in the KMS.

        Returns as soon as all are replaced. No payload waits for that: the keys in use seal until then. A key that
        can't be replaced now goes on, and a replacement is tried again soon. What has been sealed opens as before. In
        direct mode there is nothing to do.

        Args:
            timeout: seconds to wait for the KMS; `Limits.timeout` if None.

        Raises:
            EnvelopeError: as `sealing_key`, where a key could not be replaced.
        """
        await self._sealing.renew(self._deadline(self.limits.timeout if timeout is None else timeout))

    def status(self) -> KeyringStatus:
        """Return what the keyring holds and how it fares at this moment. Quick; asks no KMS, and never raises."""
        return self._inventory.take(direct=self.direct)

    def close(self) -> None:
        """Forget every key and stop. Waiting callers get `KmsUnavailable`; so does every later call. Never blocks."""
        self._calls.close()
        self._publication.close()
        self._leases.close()
        self._sealing.clear()
        self._opening.clear()
        self._foreign.clear()
        if self._own_clock is not None:
            self._own_clock.close()
        for master in list(self._owned):
            try:
                master.close()
            except Exception as error:
                text = "the provider of %s failed unexpectedly at close: %s"
                logger.error(text, master.key_id, text_of(error))
        self._close_keystore()
        report(self.observer, Event("close", "ok", ""))

    def _close_keystore(self) -> None:
        try:
            if self._keystore is not None:
                self._keystore.close()
        except Exception as error:
            logger.error("the keystore failed unexpectedly at close: %s", text_of(error))

    def _deadline(self, timeout: float) -> float:
        return self._clock.monotonic() + timeout

    def _begin_anew(self) -> None:
        """Start empty in a forked child: a sealing key shared with the parent would overrun its count."""
        closed = self._calls.closed
        self._build()
        self._calls.closed = closed

    def _look(self, lease: Lease) -> None:
        if self._lookout is not None:
            self._lookout.watch(lease.scopes)

    def _wipe(self, lease: Lease) -> None:
        self._sealing.wipe(lease)
        self._opening.wipe(lease)
