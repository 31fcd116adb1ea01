"""The meaning of a path: ``[/prefix][/anything][/namespace]/verb``, or one of the server's own pages."""

from __future__ import annotations

from typing import NamedTuple, cast, get_args
from urllib.parse import unquote_to_bytes

from envelope_codec.server.auth.rule import Verb
from envelope_codec.server.web.refusal import Refusal

VERBS = get_args(Verb)
PAGES = ("", "healthz", "readyz", "metrics", "openapi.json")

LONGEST_NAMESPACE = 1_000


class Route(NamedTuple):
    """A verb, perhaps with a namespace, or a page.

    Attributes:
        verb: None for a page.
        namespace: the one that the path names, or None.
        page: None for a verb.
    """

    verb: Verb | None
    namespace: str | None
    page: str | None

    @property
    def template(self) -> str:
        """What stands for its path in metrics: paths differ by namespace, and there may be any number of these."""
        if self.verb is None:
            return f"/{self.page}"
        return f"/{self.verb}" if self.namespace is None else f"/{{namespace}}/{self.verb}"

    @classmethod
    def parse(cls, raw_path: bytes, prefix: str) -> Route | None:
        """Return what ``raw_path`` asks for, or None if there is nothing at that path.

        The path is split before it is decoded, so that a namespace may hold a slash. Empty segments don't count: the
        command line does not trim the endpoint that it is given.

        Raises:
            Refusal: the path names a namespace that can't be one.
        """
        segments = _split(raw_path)
        outer = _split(prefix.encode())
        if segments[: len(outer)] == outer:
            segments = segments[len(outer) :]
        last = segments[-1].decode("latin-1") if segments else ""
        if last in VERBS:
            verb = cast(Verb, last)
            return cls(verb, parse_namespace(segments[-2]) if len(segments) > 1 else None, None)
        if len(segments) < 2 and last in PAGES:
            return cls(None, None, last)
        return None


def parse_namespace(given: bytes) -> str:
    """Return a namespace as a client sent it.

    Raises:
        Refusal: no namespace can have such a name.
    """
    try:
        name = given.decode()
    except UnicodeDecodeError:
        name = ""
    if not name or not name.isprintable() or len(name) > LONGEST_NAMESPACE:
        raise Refusal(400, "bad_namespace", "The request names a namespace that can't be one.")
    return name


def _split(raw_path: bytes) -> list[bytes]:
    """Return the segments of a path, without its query and without empty ones."""
    return [unquote_to_bytes(segment) for segment in raw_path.partition(b"?")[0].split(b"/") if segment]
