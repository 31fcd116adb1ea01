"""Payloads that every codec and every store leave as they are."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from temporalio.api.common.v1 import Payload

_untouched: dict[int, Payload] = {}


class Untouched:
    """Holds payloads that must reach Temporal as they are, until it is given others, or ends.

    The mark is the Python object itself, and nothing in it: these very objects are given to codecs and stores. No
    content of a payload, whoever wrote it, can ask for that, and a copy is a payload like any other. What is held here
    can't be freed, so no other object gets its identity.
    """

    def __init__(self) -> None:
        self._held: list[int] = []
        weakref.finalize(self, _release, self._held).atexit = False

    def hold(self, payloads: Sequence[Payload]) -> None:
        """Hold ``payloads`` instead of those before."""
        _release(self._held)
        for payload in payloads:
            _untouched[id(payload)] = payload
            self._held.append(id(payload))


def is_untouched(payload: Payload) -> bool:
    """Whether this very object is to be left alone."""
    return bool(_untouched) and _untouched.get(id(payload)) is payload


def any_untouched(payloads: Sequence[Payload]) -> bool:
    """Whether one of ``payloads`` is to be left alone."""
    return bool(_untouched) and any(map(is_untouched, payloads))


def _release(held: list[int]) -> None:
    for identity in held:
        _untouched.pop(identity, None)
    held.clear()
