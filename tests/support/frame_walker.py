"""What an error reporter could send away: everything that hangs on an error, or on a record of the log."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import logging
import traceback
import types
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from google.protobuf.message import Message

_MOST = 200_000  # objects
_OURS = tuple(str(Path(__file__).parents[2] / folder) for folder in ("envelope_codec/", "providers/envelope_codec_"))
_LEAVES = (types.ModuleType, type, types.CodeType, int, float, complex, logging.Logger)


class Sentinels:
    """Bytes that must not be found, in any of the forms in which they may turn up."""

    def __init__(self, *secrets: bytes) -> None:
        self.secrets = list(secrets)

    def add(self, secret: bytes) -> None:
        """Look for this one as well."""
        self.secrets.append(secret)

    def found(self, value: bytes | str) -> bool:
        """Whether one of them is in ``value``."""
        text = value.encode(errors="surrogatepass") if isinstance(value, str) else value
        return any(form in text for secret in self.secrets for form in _forms(secret))


def leaks(error: BaseException, sentinels: Sentinels) -> list[str]:
    """Where a sentinel is, in whatever our first frame and those below it hold, in the error and in those behind it.

    Frames above ours are the caller's, who has the plaintext anyway.
    """
    found = []
    for one in _behind(error):
        found += _search(f"{type(one).__name__}", [one.args, getattr(one, "__dict__", {})], sentinels)
        for frame in _frames(one):
            where = f"{type(one).__name__}: {frame.f_code.co_filename}:{frame.f_code.co_name}"
            found += _search(where, [dict(frame.f_locals)], sentinels)
    return found


def leaks_of_ours(error: BaseException, sentinels: Sentinels) -> list[str]:
    """Where a sentinel is in frames of ours alone: those of the SDK among them hold what they were given."""
    found = []
    for one in _behind(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename.startswith(_OURS):
                found += _search(frame.f_code.co_name, [dict(frame.f_locals)], sentinels)
    return found


def leaks_anywhere(error: BaseException, sentinels: Sentinels) -> list[str]:
    """Where a sentinel is in any frame: whoever logs an error with its traceback hands all of them to the handlers."""
    return [
        where
        for one in _behind(error)
        for frame, _ in traceback.walk_tb(one.__traceback__)
        for where in _search(f"{frame.f_code.co_filename}:{frame.f_code.co_name}", [dict(frame.f_locals)], sentinels)
    ]


def leaks_of_record(record: logging.LogRecord, sentinels: Sentinels) -> list[str]:
    """The same for what a handler gets of a log record, its words apart."""
    found = _search(f"record {record.name}", [record.args], sentinels)
    if record.exc_info and record.exc_info[1]:
        found += leaks(record.exc_info[1], sentinels)
    return found


def _forms(secret: bytes) -> tuple[bytes, ...]:
    return _cached_forms(bytes(secret))


@functools.lru_cache(maxsize=4_096)
def _cached_forms(secret: bytes) -> tuple[bytes, ...]:
    """All forms in which it may stand in a text, each one once, and the bytes themselves."""
    text = secret.decode("latin-1")
    forms = {
        *(secret, secret.hex().encode(), secret.hex().upper().encode(), secret.hex(" ").encode()),
        *(repr(secret)[2:-1].encode(), repr(list(secret))[1:-1].encode(), repr(tuple(secret))[1:-1].encode()),
        *(json.dumps(text)[1:-1].encode(), quote(secret).encode(), quote_plus(secret).encode()),
        *_base64(secret),
    }
    with contextlib.suppress(UnicodeDecodeError):
        text = secret.decode()
        forms |= {repr(text)[1:-1].encode(), json.dumps(text)[1:-1].encode()}
    return tuple(forms)


def _base64(secret: bytes) -> Iterator[bytes]:
    """In both alphabets, wherever in other bytes it stands."""
    for shift in range(3):
        # Some bits of the first and the last character belong to what stands before and after it.
        encoded = base64.b64encode(bytes(shift) + secret).rstrip(b"=")
        first, last = -(-shift * 8 // 6), len(encoded) - (1 if (shift + len(secret)) % 3 else 0)
        for form in (encoded[first:last], encoded[first:last].replace(b"+", b"-").replace(b"/", b"_")):
            yield form
            yield quote(form, safe="").encode()


def _behind(error: BaseException) -> Iterator[BaseException]:
    seen: dict[int, BaseException] = {}
    pending: list[Any] = [error]
    while pending:
        one = pending.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen[id(one)] = one
            pending += [one.__context__, one.__cause__, *getattr(one, "exceptions", ())]
            yield one


def _frames(error: BaseException) -> list[types.FrameType]:
    frames: list[types.FrameType] = []
    traceback = error.__traceback__
    while traceback is not None:
        if frames or traceback.tb_frame.f_code.co_filename.startswith(_OURS):
            frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return frames


def _search(where: str, roots: list[object], sentinels: Sentinels) -> list[str]:
    seen: dict[int, object] = {}
    pending = deque((root, where) for root in roots)
    found = []
    while pending and len(seen) < _MOST:
        value, path = pending.popleft()
        if id(value) in seen or isinstance(value, _LEAVES):
            continue
        seen[id(value)] = value
        if isinstance(value, (bytes, bytearray, memoryview, str)):
            if sentinels.found(value if isinstance(value, (bytes, str)) else bytes(value)):
                found.append(path)
            continue
        pending += [(part, f"{path}.{name}") for name, part in _parts(value)]
    return found


def _parts(value: Any) -> Iterable[tuple[str, object]]:
    """What ``value`` refers to, named."""
    if isinstance(value, Message):
        yield "serialized", value.SerializeToString()
    elif isinstance(value, dict):
        for key, part in list(value.items()):
            yield "key", key
            yield str(key)[:40], part
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        for number, part in enumerate(list(value)):
            yield str(number), part
    elif isinstance(value, types.FunctionType):
        for cell in value.__closure__ or ():
            try:
                yield "cell", cell.cell_contents
            except ValueError:
                continue
        yield "defaults", value.__defaults__
    elif isinstance(value, types.MethodType):
        yield "self", value.__self__
        yield "function", value.__func__
    elif isinstance(value, functools.partial):
        yield "partial", (value.func, value.args, value.keywords)
    elif isinstance(value, types.FrameType):
        yield "locals", dict(value.f_locals)
    elif isinstance(value, types.TracebackType):
        yield "frame", value.tb_frame
    else:
        for name in ("cr_frame", "gi_frame", "ag_frame", "__dict__", "__traceback__", "__context__", "__cause__"):
            part = None if isinstance(value, types.MappingProxyType) else _attribute(value, name)
            if part is not None:
                yield name, part
        for kind in type(value).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            for slot in (slots,) if isinstance(slots, str) else slots:
                name = f"_{kind.__name__.lstrip('_')}{slot}" if slot.startswith("__") and slot[-2:] != "__" else slot
                yield slot, _attribute(value, name)


def _attribute(value: Any, name: str) -> object:
    """An attribute, or None where there is none, or where asking for it fails."""
    try:
        return getattr(value, name, None)
    except Exception:
        return None
