"""The protobuf-JSON of ``temporal.api.common.v1.Payloads``, in which payloads come and go."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from envelope_codec.server.web.refusal import Refusal

# Bounds for one payload, far above what any payload has.
_BRACKETS = 64
_QUOTES = 1_024
_DEPTH = 8
_NODE_BYTES = 64
_NODES_OF_ENTRY = 2  # of metadata
_NODES_OF_SIZE = 4  # of a stored payload: an object with a name and a text
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

BASE64 = "|".join(
    f"(?:[A-Za-z0-9{more}]{{4}})*(?:[A-Za-z0-9{more}]{{2}}(?:==)?|[A-Za-z0-9{more}]{{3}}=?)?" for more in ("+/", "_-")
).join(("(?:", ")"))
"""A regular expression for bytes in protobuf-JSON: base64 of both alphabets, with or without padding."""

# Repeated groups would cost Python's re 32 bytes of memory for each byte of the text.
_ANY_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]*|[A-Za-z0-9_-]*)(={0,2})")
_PADDED = {"": (0, 2, 3), "=": (0,), "==": (0,)}  # by how many characters the text may be longer than a multiple of 4
_STANDARD = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def count_tree_bytes(body: bytes | bytearray) -> int:
    """Return how many bytes of memory the tree of this JSON takes at most, beside its texts.

    If one character of a text is beyond ASCII, each of its characters may take four bytes.
    """
    nodes = body.count(b'"') + body.count(b",") + body.count(b"{") + body.count(b"[")
    return _NODE_BYTES * nodes + (0 if body.isascii() else len(body) // 2)


def count_entry_bytes(payload: Payload) -> int:
    """Return how many bytes of memory the tree of a payload's JSON takes at most, beside its texts."""
    return _NODE_BYTES * (_NODES_OF_ENTRY * len(payload.metadata) + _NODES_OF_SIZE * len(payload.external_payloads))


def parse_payloads(body: bytes | bytearray, limit: int) -> list[Payload]:
    """Return the payloads in a request.

    Args:
        body: protobuf-JSON.
        limit: how many there may be.

    Raises:
        Refusal: the body is something else. The JSON of protobuf is taken in all its forms. Unknown fields, a name
            twice in one object, and base64 with other characters in it are refused.
    """
    # This comes before anything is built: a small text may be a very large tree.
    if body.count(b'"') + body.count(b",") > _QUOTES * (limit + 1):
        raise _malformed()
    brackets = _without_texts(body).translate(None, _NO_BRACKETS)
    if len(brackets) > _BRACKETS * (limit + 1) or _is_deep(brackets):
        raise _malformed()
    try:
        tree = json.loads(body.decode(), object_pairs_hook=_unique_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise _malformed() from None
    given = tree.get("payloads") if isinstance(tree, dict) else None
    if isinstance(given, list) and len(given) > limit:
        raise Refusal(413, "too_many_payloads", f"A request may have {limit} payloads.")
    if isinstance(given, list) and len(tree) == 1:
        plain = [_parse_plain(payload) for payload in given]
        if all(payload is not None for payload in plain):
            return [payload for payload in plain if payload is not None]
    return _parse_any(tree)


def render_payloads(payloads: Sequence[Payload]) -> bytes:
    """Return the body of a reply."""
    return b'{"payloads":[' + b",".join(map(_render, payloads)) + b"]}"


def _parse_plain(given: Any) -> Payload | None:
    """Return the payload if it is in the form that clients write, else None.

    Protobuf's own parser takes all forms, and six times as long.
    """
    if not isinstance(given, dict) or not given.keys() <= {"metadata", "data"}:
        return None
    metadata, data = given.get("metadata", {}), given.get("data", "")
    if not isinstance(metadata, dict):
        return None
    values = [_decode_standard(value) for value in (data, *metadata.values())]
    if any(value is None for value in values):
        return None
    try:
        return Payload(metadata=dict(zip(metadata, values[1:], strict=True)), data=values[0])  # type: ignore[arg-type]
    except ValueError:  # half a surrogate pair in a name
        return None


def _decode_standard(text: Any) -> bytes | None:
    if isinstance(text, str) and len(text) % 4 == 0 and _STANDARD.fullmatch(text):
        return a2b_base64(text)
    return None


def _parse_any(tree: Any) -> list[Payload]:
    payloads = Payloads()
    try:
        _check_base64(tree)
        json_format.ParseDict(tree, payloads)
    except Exception:  # protobuf raises many classes; whatever it is, the client's text is wrong
        raise _malformed() from None
    return list(payloads.payloads)


def _check_base64(tree: Any) -> None:
    """Raise ValueError where protobuf's parser would skip characters, and so read another payload."""
    for payload in tree.get("payloads") or ():
        for text in (payload.get("data") or "", *(payload.get("metadata") or {}).values()):
            found = _ANY_BASE64.fullmatch(text)
            if found is None or len(text) % 4 not in _PADDED[found[1]]:
                raise ValueError("not base64")


def _render(payload: Payload) -> bytes:
    if payload.external_payloads:
        return json.dumps(json_format.MessageToDict(payload)).encode()
    parts = []
    if payload.metadata:
        entries = (
            json.dumps(name, ensure_ascii=False).encode() + b':"' + b64encode(value) + b'"'
            for name, value in payload.metadata.items()
        )
        parts.append(b'"metadata":{' + b",".join(entries) + b"}")
    if payload.data:
        parts.append(b'"data":"' + b64encode(payload.data) + b'"')
    return b"{" + b",".join(parts) + b"}"


def _without_texts(body: bytes | bytearray) -> bytes:
    """Return JSON without its texts in quotes, whose brackets do not count."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")  # quotes that end no text
    return b"".join(body.split(b'"')[::2])


def _is_deep(brackets: bytes) -> bool:
    """Return whether brackets are nested deeper than in any payload."""
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > _DEPTH:
            return True
    return False


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice in one object")
    return found


def _refuse_constant(constant: str) -> Any:
    raise ValueError(constant)


def _malformed() -> Refusal:
    return Refusal(400, "malformed", "The body is no protobuf-JSON of temporal.api.common.v1.Payloads.")
