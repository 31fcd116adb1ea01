"""What a path asks for: ``[/prefix][/anything][/namespace]/verb``, or one of the server's own pages."""

from __future__ import annotations

from typing import NamedTuple, cast, get_args
from urllib.parse import unquote_to_bytes

from envelope_codec.server.auth.rule import Verb
from envelope_codec.server.web.refusal import Refusal

VERBS = get_args(Verb)
PAGES = ("", "healthz", "readyz", "metrics", "openapi.json")

LONGEST_NAMESPACE = 1_000


class Target(NamedTuple):
    """A verb, perhaps with a namespace, or a page."""

    verb: Verb | None
    namespace: str | None
    page: str | None

    @classmethod
    def of(cls, raw_path: bytes, prefix: str) -> Target | None:
        """What ``raw_path`` asks for; None for nothing that there is.

        Segments are told apart before they are decoded, so a namespace may hold a slash. Empty ones don't count, since
        the command line does not trim the endpoint that it is given.

        Raises:
            Refusal: the namespace is none.
        """
        segments = _segments(raw_path)
        outer = _segments(prefix.encode())
        if segments[: len(outer)] == outer:
            segments = segments[len(outer) :]
        last = segments[-1].decode("latin-1") if segments else ""
        if last in VERBS:
            verb = cast(Verb, last)
            return cls(verb, checked_namespace(segments[-2]) if len(segments) > 1 else None, None)
        if len(segments) < 2 and last in PAGES:
            return cls(None, None, last)
        return None


def checked_namespace(given: bytes) -> str:
    """A namespace as a client sent it.

    Raises:
        Refusal: it is none.
    """
    try:
        name = given.decode()
    except UnicodeDecodeError:
        name = ""
    if not name or not name.isprintable() or len(name) > LONGEST_NAMESPACE:
        raise Refusal(400, "bad_namespace", "The request names a namespace that can't be one.")
    return name


def _segments(raw_path: bytes) -> list[bytes]:
    return [unquote_to_bytes(segment) for segment in raw_path.partition(b"?")[0].split(b"/") if segment]
