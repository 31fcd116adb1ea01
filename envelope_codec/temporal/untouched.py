"""Payloads that every codec and every store leaves as they are."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from temporalio.api.common.v1 import Payload

_untouched: dict[int, Payload] = {}


class Untouched:
    """Holds payloads that must reach Temporal as they are. It holds them until it is given others, or is freed.

    A payload is known by its identity as a Python object: codecs and stores are given these very objects. So nothing
    that a payload contains, whoever wrote it, can ask to be left alone, and a copy is a payload like any other. A held
    object can't be freed, so no other object gets its identity.
    """

    def __init__(self) -> None:
        self._held: list[int] = []
        weakref.finalize(self, _release, self._held).atexit = False

    def hold(self, payloads: Sequence[Payload]) -> None:
        """Hold ``payloads`` in place of the payloads that were held before."""
        _release(self._held)
        for payload in payloads:
            _untouched[id(payload)] = payload
            self._held.append(id(payload))


def is_untouched(payload: Payload) -> bool:
    """Whether this very object is held, and so must stay as it is."""
    return bool(_untouched) and _untouched.get(id(payload)) is payload


def any_untouched(payloads: Sequence[Payload]) -> bool:
    """Whether one of ``payloads`` is held."""
    return bool(_untouched) and any(map(is_untouched, payloads))


def _release(held: list[int]) -> None:
    for identity in held:
        _untouched.pop(identity, None)
    held.clear()
