"""A count of refusals that get no audit line each: refused callers could fill the audit trail."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from envelope_codec._frames import place_of
from envelope_codec.observe import logger
from envelope_codec.server.audit import Entry, cut
from envelope_codec.server.auth.principal import Principal, caller_key
from envelope_codec.server.web.limiter import Limiter
from envelope_codec.server.web.network import network_of

SECONDS = 60.0
"""Seconds after which a summary is written."""

STRANGERS = "600/minute"
"""Number of audit lines for callers who are not known, all addresses together."""

_WITHOUT_END = ("too_many_requests", "too_many_from_address")  # nothing else bounds these
_MOST_GROUPS = 1_000
_LISTED = 16

_Group = tuple[str, str, str, int, str]


class Tally:
    """Decides which refusals get an audit line, counts the others, and writes a summary of them now and then.

    Args:
        write: writes a line into the audit trail, or raises OSError or ValueError.
    """

    def __init__(self, write: Callable[[dict[str, Any]], object]) -> None:
        self._write = write
        self._strangers = Limiter(STRANGERS)
        self._first = Limiter("1/minute")
        self._counts: Counter[_Group] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def has_line(self, entry: Entry, status: int, error: str) -> bool:
        """Return whether this refusal gets an audit line. If it does not, count it.

        Of refusals for too many requests, each caller's first in a minute gets a line. Of other refusals, those whose
        caller is known get one each; those of unknown callers get `STRANGERS`.
        """
        who = entry.principal
        group = (network_of(entry.client), who.issuer if who else "", who.subject if who else "", status, error)
        caller = caller_key(who or Principal(), entry.client)  # one caller may come from many addresses
        is_first = error not in _WITHOUT_END or not self._first.take(f"{caller} {status} {error}")
        if is_first and (who is not None or not self._strangers.take("")):
            return True
        self._count(group)
        return False

    def flush(self) -> None:
        """Write a summary of what was counted. If that is not possible, try again later."""
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
                self._schedule()
        else:
            self._counts.clear()

    def close(self) -> None:
        """Write what is left, and schedule no further summary."""
        self._closed = True
        self.flush()

    def _count(self, group: _Group) -> None:
        if group not in self._counts and len(self._counts) >= _MOST_GROUPS:
            group = ("others", "", "", *group[3:])
        self._counts[group] += 1
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SECONDS, self.flush)

    def _summary(self) -> dict[str, Any]:
        most = self._counts.most_common(_LISTED)
        return {
            "requests": sum(self._counts.values()),
            "callers": len({group[:3] for group in self._counts}),
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
