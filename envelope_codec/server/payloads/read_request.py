"""A caller's request to open payloads, and the caller's rights."""

from __future__ import annotations

from dataclasses import dataclass

from envelope_codec.server.auth.access import Grants
from envelope_codec.server.auth.rule import Verb
from envelope_codec.server.web.admission import Visit


@dataclass(frozen=True)
class ReadRequest:
    """A request to open payloads.

    Attributes:
        verb: ``decode`` or ``download``.
        grants: what the caller may do.
        namespace: the one that the request names, where the caller may read; None if it names none.
        visit: what the request takes of the caller's budgets.
        follow: whether references to external storage are followed.
        inline_below: only references of this library to so many bytes or fewer are followed; None for any.
    """

    verb: Verb
    grants: Grants
    namespace: str | None
    visit: Visit
    follow: bool
    inline_below: int | None = None
