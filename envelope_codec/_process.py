"""State that belongs to one process. A forked child must not use its parent's threads, locks and connections."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_Owner = TypeVar("_Owner")

_renewals: dict[int, tuple[weakref.ref[Any], Callable[[Any], object]]] = {}
_numbers = itertools.count()
_kept: list[object] = []
_forking: dict[int, bool] = {}


def in_child(owner: _Owner, renew: Callable[[_Owner], object]) -> None:
    """Call ``renew(owner)`` in each forked child, if ``owner`` is alive then. Owners come in the order of registration.

    Args:
        owner: held weakly.
        renew: must not hold ``owner`` and must be quick. It must wait for nothing: the thread that would end the wait
            may not exist in the child.
    """
    number = next(_numbers)
    # Changed by single operations of a dict alone: a lock here would be one more that may be held at a fork.
    _renewals[number] = (weakref.ref(owner, lambda _: _renewals.pop(number, None)), renew)


def renew_after_fork(owner: object, **attributes: Callable[[], object]) -> None:
    """Set attributes of ``owner`` now, and anew in each forked child.

    Every lock is made like this: ``renew_after_fork(self, _lock=threading.Lock)``. At the fork, another thread may hold
    the parent's lock, and the child has not got that thread. The forking thread may hold the lock too; it releases the
    lock that it took.
    """

    def renew(owner: object) -> None:
        for name, make in attributes.items():
            setattr(owner, name, make())

    renew(owner)
    in_child(owner, renew)


def living(kind: type[_Owner]) -> list[_Owner]:
    """List the living owners of this class that have something to renew."""
    owners = [reference() for reference, _ in list(_renewals.values())]
    return list(dict.fromkeys(owner for owner in owners if isinstance(owner, kind)))


def keep(value: object) -> None:
    """Never free ``value``, which belongs to a parent of this process.

    To free or close it may end the parent's connection (a TLS shutdown, a QUIT), or hang (gRPC).
    """
    if value is not None:
        _kept.append(value)


class PerProcess(Generic[T]):
    """A value that each process makes for itself at its first use. The parent's value is kept alive, and left alone.

    Args:
        make: makes the value. It must be quick, since other threads wait. It gets the parent's value at the fork, or
            None if there was none. It may take over from that what is no connection, thread or lock.
    """

    _lock: Any

    def __init__(self, make: Callable[[T | None], T]) -> None:
        self._make = make
        self._value: T | None = None
        self._inherited: T | None = None
        renew_after_fork(self, _lock=threading.RLock)
        in_child(self, PerProcess._let_go)

    def get(self) -> T:
        """Return the value of this process; make it at the first call."""
        value = self._value
        if value is None:
            with self._lock:
                value = self._value
                if value is None:
                    value = self._value = self._make(self._inherited)
                    self._inherited = None
        return value

    @property
    def made(self) -> T | None:
        """The value of this process; None if it has not been made."""
        return self._value

    def take(self) -> T | None:
        """Forget the value of this process, and return it. The next `get` makes another."""
        with self._lock:
            value, self._value = self._value, None
            self._inherited = None
        return value

    def _let_go(self) -> None:
        if self._value is not None:
            keep(self._value)
            self._inherited, self._value = self._value, None


def _before_fork() -> None:
    """Pause the collector of garbage, until the child's owners have let go of what is their parent's.

    A collection in the child's first moment would free what the parent held in cycles. Its clean-up may wait for a lock
    that some thread of the parent's has taken, and the child would hang inside `os.fork`.
    """
    _forking[threading.get_ident()] = gc.isenabled()
    gc.disable()


def _after_fork_in_parent() -> None:
    if _forking.pop(threading.get_ident(), False):
        gc.enable()


def _after_fork_in_child() -> None:
    try:
        for reference, renew in list(_renewals.values()):
            owner = reference()
            if owner is not None:
                renew(owner)
    finally:
        _after_fork_in_parent()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
