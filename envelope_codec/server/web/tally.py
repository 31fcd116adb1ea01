"""Refusals without an audit line each, since whoever is refused could fill the trail: counted, and summed up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from envelope_codec._frames import place_of
from envelope_codec.observe import logger
from envelope_codec.server.audit import Entry, cut
from envelope_codec.server.auth.bearer import caller_key
from envelope_codec.server.auth.principal import Principal
from envelope_codec.server.web.address import network_of
from envelope_codec.server.web.limiter import Limiter

SECONDS = 60.0
"""After so many, what was counted is written."""

STRANGERS = "600/minute"
"""So many lines there are of requests of which nobody knows who made them, all addresses together."""

_WITHOUT_END = ("too_many_requests", "too_many_from_address")  # what nothing else bounds
_KINDS = 1_000
_TOLD = 16

_Kind = tuple[str, str, str, int, str]


class Tally:
    """Decides which refusals get a line, counts the others, and writes their numbers now and then.

    Args:
        write: writes a line into the audit trail; OSError or ValueError if that is not possible.
    """

    def __init__(self, write: Callable[[dict[str, Any]], object]) -> None:
        self._write = write
        self._strangers = Limiter(STRANGERS)
        self._first = Limiter("1/minute")
        self._counts: Counter[_Kind] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def has_line(self, entry: Entry, status: int, error: str) -> bool:
        """Whether this refusal gets a line of its own. If not, it has been counted.

        Of those that are refused for their number, each caller's first in a minute does. Of others whose caller is not
        known, as many as fit.
        """
        who = entry.principal
        kind = (network_of(entry.client), who.issuer if who else "", who.subject if who else "", status, error)
        caller = caller_key(who or Principal(), entry.client)  # from wherever it comes
        first = error not in _WITHOUT_END or not self._first.take(f"{caller} {status} {error}")
        if first and (who is not None or not self._strangers.take("")):
            return True
        self._count(kind)
        return False

    def flush(self) -> None:
        """Write what has been counted. If that is not possible, it is tried again later."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._counts:
            return
        try:
            self._write(self._summary())
        except (OSError, ValueError) as error:
            logger.error("the summary of refused requests can't be written: %s", place_of(error))
            if not self._closed:
                self._start()
        else:
            self._counts.clear()

    def close(self) -> None:
        """Write what is left, and count no more."""
        self._closed = True
        self.flush()

    def _count(self, kind: _Kind) -> None:
        if kind not in self._counts and len(self._counts) >= _KINDS:
            kind = ("others", "", "", *kind[3:])
        self._counts[kind] += 1
        self._start()

    def _start(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SECONDS, self.flush)

    def _summary(self) -> dict[str, Any]:
        most = self._counts.most_common(_TOLD)
        return {
            "requests": sum(self._counts.values()),
            "callers": len({kind[:3] for kind in self._counts}),
            "most": [
                {
                    "client": cut(client),
                    "issuer": cut(issuer),
                    "subject": cut(subject),
                    "status": status,
                    "error": error,
                    "requests": count,
                }
                for (client, issuer, subject, status, error), count in most
            ],
        }
