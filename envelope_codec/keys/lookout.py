"""A lookout: after each renewal of a lease, one looks whether others seal with a younger wrapping key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from envelope_codec.errors import EnvelopeError
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.sealing_key import Scope


class Lookout:
    """Looks for some scopes, one after another: so a slow keystore holds one thread, and nobody waits for that.

    Args:
        calls: has the lock, and runs the looks.
        look: looks for one scope. Runs in a thread.
    """

    def __init__(self, calls: KmsCalls, look: Callable[[Scope], None]) -> None:
        self._calls = calls
        self._look = look
        self._waiting: dict[Scope, None] = {}
        self._flying = False

    def watch(self, scopes: Iterable[Scope]) -> None:
        """Look for each of these scopes soon, once."""
        listed = dict.fromkeys(scopes)
        with self._calls.lock:
            self._waiting.update(listed)
            if self._flying or not self._waiting:
                return
            self._flying = True
        self._calls.fly(Flight(self._run), lambda: None)

    def _run(self) -> None:
        try:
            while (scope := self._next()) is not None:
                with suppress(EnvelopeError):  # the keyring was closed
                    self._look(scope)
        except BaseException:
            self._flying = False
            raise

    def _next(self) -> Scope | None:
        """Take the next scope; None if there is none."""
        with self._calls.lock:
            scope = None if self._calls.closed else next(iter(self._waiting), None)
            if scope is None:
                self._flying = False  # under the lock: whoever adds a scope from now on begins anew
            else:
                del self._waiting[scope]
            return scope
