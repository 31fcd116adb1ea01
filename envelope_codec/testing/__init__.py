"""Fakes for tests, yours as well as ours: a master key and a keystore in memory with faults to inject, and a clock."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from envelope_codec._frames import frameless
from envelope_codec._process import renew_after_fork
from envelope_codec.errors import InvalidCiphertext, KeyDenied, KmsUnavailable, StoreRefused, StoreUnavailable
from envelope_codec.keystore import Kept, RowConflict
from envelope_codec.kms import Unwrapped, WrappedSecret, context_bytes

_numbers = itertools.count(1)


class FakeKms:
    """A master key in memory (a `MasterKey`), with real AES-256-GCM and with faults on demand.

    Attributes:
        wraps: calls to `wrap` so far, the failed ones included.
        unwraps: calls to `unwrap` so far, the failed ones included.
        down: while True, every call raises `KmsUnavailable`.
        denied: while True, every call that is answered at all raises `KeyDenied`.
        before_call: called at the start of each call, with ``"wrap"`` or ``"unwrap"``; may block, raise, or count.
    """

    _lock: threading.Lock

    def __init__(self, key_id: str | None = None) -> None:
        self._key_id = key_id or f"fakekms://key-{next(_numbers)}"
        self._versions = {"1": AESGCM(os.urandom(32))}
        renew_after_fork(self, _lock=threading.Lock)
        self._failures: deque[BaseException] = deque()
        self.wraps = 0
        self.unwraps = 0
        self.down = False
        self.denied = False
        self.before_call: Callable[[str], None] = lambda operation: None

    @property
    def key_id(self) -> str:
        """Return the key id that the fake was made with."""
        return self._key_id

    def accepts(self, key_id: str) -> bool:
        """Say whether ``key_id`` is this key's own."""
        return key_id == self._key_id

    def fail_next(self, *errors: BaseException) -> None:
        """Let the next calls raise these errors, one each."""
        self._failures.extend(errors)

    def rotate(self) -> None:
        """Wrap with new key material from now on; the old still unwraps."""
        self._versions[str(len(self._versions) + 1)] = AESGCM(os.urandom(32))

    @frameless
    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        """Encrypt ``secret``, bound to ``context``, unless a fault is injected."""
        with self._lock:
            self.wraps += 1
        self._faults("wrap")
        version, cipher = next(reversed(self._versions.items()))
        nonce = os.urandom(12)
        return WrappedSecret(self._key_id, version, nonce + cipher.encrypt(nonce, secret, context_bytes(context)))

    @frameless
    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        """Decrypt, unless a fault is injected. The version proves itself: each version has key material of its own."""
        with self._lock:
            self.unwraps += 1
        self._faults("unwrap")
        cipher = self._versions.get(wrapped.key_version)
        if cipher is None:
            raise KeyDenied("the key version does not exist", operation="unwrap", key_id=self._key_id)
        try:
            secret = cipher.decrypt(wrapped.ciphertext[:12], wrapped.ciphertext[12:], context_bytes(context))
        except (InvalidTag, ValueError):
            raise InvalidCiphertext(
                "the KMS refused the wrapped key", operation="unwrap", key_id=self._key_id
            ) from None
        return Unwrapped(secret, wrapped.key_version)

    def wrap_for_proxy(self, data_key: bytes) -> bytes:
        """Encrypt a data key as Temporal's proxy has it done: bound to nothing."""
        nonce = os.urandom(12)
        return nonce + next(reversed(self._versions.values())).encrypt(nonce, data_key, None)

    def proxy_unwrapper(self, uri: str) -> Callable[[bytes], bytes]:
        """Return a function that decrypts what `wrap_for_proxy` made, whatever the proxy calls this key."""
        return self._unwrap_proxied

    @frameless
    def _unwrap_proxied(self, ciphertext: bytes) -> bytes:
        with self._lock:
            self.unwraps += 1
        self._faults("unwrap")
        for cipher in self._versions.values():
            with suppress(InvalidTag, ValueError):
                return cipher.decrypt(ciphertext[:12], ciphertext[12:], None)
        raise InvalidCiphertext("the KMS refused the wrapped key", operation="unwrap", key_id=self._key_id)

    def close(self) -> None:
        """Do nothing: a fake has no connections."""

    def _faults(self, operation: str) -> None:
        self.before_call(operation)
        with self._lock:
            failure = self._failures.popleft() if self._failures else None
        if failure is not None:
            raise failure
        if self.down:
            raise KmsUnavailable("the KMS did not answer", operation=operation, key_id=self._key_id)
        if self.denied:
            raise KeyDenied("the master key is disabled", operation=operation, key_id=self._key_id)


class FakeKeystore:
    """A keystore in memory (a `Keystore`), with faults on demand.

    Attributes:
        kept: rows and their revisions, by their keys.
        gets: calls to `get` so far, the failed ones included.
        puts: calls to `put` so far, the failed ones included.
        down: while True, every call raises `StoreUnavailable`.
        refuses: the calls that raise `StoreRefused`: ``"get"``, ``"put"``, ``"rows"`` and ``"check"``.
        closed: calls to `close` so far.
        before_call: called at the start of each call, with its name; may block, raise, or count.
    """

    _lock: threading.Lock

    def __init__(self) -> None:
        renew_after_fork(self, _lock=threading.Lock)
        self.kept: dict[bytes, tuple[bytes, str]] = {}
        self.gets = 0
        self.puts = 0
        self.down = False
        self.refuses: set[str] = set()
        self.closed = 0
        self.before_call: Callable[[str], None] = lambda operation: None

    async def get(self, key: bytes) -> Kept | None:
        """Return what is kept under ``key``, unless a fault is injected."""
        with self._lock:
            self.gets += 1
        self._faults("get")
        found = self.kept.get(key)
        return Kept(key, *found) if found is not None else None

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        """Keep ``data`` in the place of the row of this revision, unless a fault is injected."""
        with self._lock:
            self.puts += 1
        self._faults("put")
        with self._lock:
            there = self.kept.get(key)
            if (there[1] if there is not None else None) != revision:
                raise RowConflict("the row has another revision", operation="put")
            made = str(next(_numbers))
            self.kept[key] = data, made
        return made

    async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        """Yield all rows with keys beyond ``after``, in the order of their keys."""
        self._faults("rows")
        for key, found in sorted(self.kept.items()):
            if key > after:
                yield Kept(key, *found)

    async def check(self) -> None:
        """Do nothing, unless a fault is injected."""
        self._faults("check")

    async def close(self) -> None:
        """Count the call: a fake has no connections."""
        self.closed += 1

    def _faults(self, operation: str) -> None:
        self.before_call(operation)
        if self.down:
            raise StoreUnavailable("the keystore did not answer", operation=operation)
        if operation in self.refuses:
            raise StoreRefused("the keystore refused", operation=operation)


class ManualClock:
    """A clock (a `Clock`) that stands still until `advance` moves it and calls what has become due."""

    _lock: Any

    def __init__(self, *, time: float = 1_700_000_000.0) -> None:
        self._monotonic = 1_000.0
        self._time = time
        renew_after_fork(self, _lock=threading.RLock)
        self._due: list[tuple[float, int, _ManualTimer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        """Return the seconds that the test has let pass."""
        return self._monotonic

    def time(self) -> float:
        """Return the time of day, in Unix seconds, that the test has set."""
        return self._time

    def call_later(self, delay: float, callback: Callable[[], None]) -> _ManualTimer:
        """Call ``callback`` once the test has let so many seconds pass."""
        timer = _ManualTimer(callback)
        with self._lock:
            heapq.heappush(self._due, (self._monotonic + max(delay, 0.0), next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Move both clocks on, calling each due timer at its own time, in this thread."""
        end = self._monotonic + seconds
        while True:
            with self._lock:
                if not self._due or self._due[0][0] > end:
                    break
                due, _, timer = heapq.heappop(self._due)
                self._move(max(due, self._monotonic))
            timer.fire()
        self._move(max(end, self._monotonic))  # a timer may have moved it on

    def suspend(self, seconds: float) -> None:
        """Move the wall clock alone, as a suspended machine does."""
        self._time += seconds

    @property
    def next_due(self) -> float | None:
        """Seconds until the next timer that has not been cancelled, or None."""
        with self._lock:
            while self._due and self._due[0][2].cancelled:
                heapq.heappop(self._due)
            return self._due[0][0] - self._monotonic if self._due else None

    def _move(self, monotonic: float) -> None:
        self._time += monotonic - self._monotonic
        self._monotonic = monotonic


class _ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    @property
    def cancelled(self) -> bool:
        return self._callback is None

    def cancel(self) -> None:
        self._callback = None

    def fire(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
