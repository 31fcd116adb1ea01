"""Master keys: the protocol that a provider implements, key URIs, and the lookup of providers.

A provider is a callable that takes a key URI and returns a `MasterKey`. It is found by the URI's scheme in the
entry-point group ``envelope_codec.providers``. Building a `MasterKey` asks no network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module, metadata
from typing import NamedTuple, Protocol, TypeGuard, runtime_checkable
from urllib.parse import parse_qsl, unquote, urlsplit

from envelope_codec._facts import bare_keys, facts_of
from envelope_codec._frames import frameless
from envelope_codec._schemes import suggest_scheme
from envelope_codec.errors import ConfigurationError
from envelope_codec.observe import logger

ENTRY_POINT_GROUP = "envelope_codec.providers"

MISSING_PACKAGE = "missing-package"
"""Reason code of the error that a package is not installed which a provider needs."""

_CONTEXT_PREFIX = b"envelope-codec/1 context\0"
_PATH = re.compile(r"(?:~|\.{0,2}/)[ -~]{0,254}|[\w ./~-]{1,250}\.[a-z]{1,5}")
_KEY_FILE = re.compile(r"[~.]{0,2}/|[\w .-]*\.json$")
_HARMLESS = re.compile(r"[^@{}\r]{0,400}")
_KEY_NAME = re.compile(r"arn:|projects/|(?:key|alias)/|mrk-|[a-z]{1,16}:|[0-9a-f]{8}-[0-9a-f]{4}-|[\w./-]{1,16}$")
_told_of_bytes: set[type] = set()


@dataclass(frozen=True)
class WrappedSecret:
    """A secret as one master key wrapped it.

    Attributes:
        key_id: canonical key id of the master key that wrapped it (for an alias: of the key it points at).
        key_version: version of the master key, or ``""`` where the KMS does not tell.
        ciphertext: what the KMS returned, at most 4,096 bytes.
    """

    key_id: str
    key_version: str
    ciphertext: bytes


@dataclass(frozen=True)
class Unwrapped:
    """The result of a successful unwrap.

    Attributes:
        secret: the 32 bytes that were wrapped.
        version: the version of the master key that the KMS's success proves: the one that it must have decrypted with.
            ``""`` where one success stands for the whole master key. None where the KMS decrypts with one of several
            versions, which can be disabled one by one, and does not tell which. Never simply what the record says.
        used_version: what the KMS says that it decrypted with, where ``version`` is ``""``. A new record gets it as its
            key version if the wrap told none.
    """

    secret: bytes = field(repr=False)
    version: str | None
    used_version: str = ""


class LastUse(NamedTuple):
    """What a KMS has recorded of the last time when a key did something.

    Attributes:
        at: when that was, in Unix seconds. None: it has recorded nothing.
        operation: what it did, in the words of the KMS; empty where that is not told.
        event: the id of that event in the KMS's own log; empty where it has none.
        since: since when it records, in Unix seconds; None where that is not told.
    """

    at: float | None
    operation: str = ""
    event: str = ""
    since: float | None = None


@runtime_checkable
class MasterKey(Protocol):
    """A key that lives in a KMS and never leaves it.

    Calls are synchronous and thread-safe. The provider's own time-outs bound them. The provider never retries: the
    keyring runs calls in its own threads and retries. Each call raises `KmsUnavailable`, `KeyDenied` or
    `InvalidCiphertext`, and no other error of the KMS. No exception of an SDK travels with it into workflow history,
    for its text may hold key ids and endpoints: `envelope_codec.provider.asks_kms` sees to that.

    A master key may have a method ``notices()`` besides. It gives pairs of texts: what will become trouble, and what to
    do about it. ``envelope-codec doctor`` shows them as advice.

    It may have a method ``last_use(key_id)``, for a key id that it accepts: the `LastUse` of that key, or None where
    the KMS does not tell. It asks the KMS. ``envelope-codec audit --ask-kms`` shows it.

    It may have a method ``rewrap_to(other, wrapped, context)``, where its KMS can wrap anew what it wrapped, by the
    master key ``other`` under the same context, and shows the secret to nobody. It returns the new `WrappedSecret`, and
    raises as `unwrap` does, or `ConfigurationError` if ``other`` is none that its KMS can do that with.
    ``envelope-codec rewrap --re-encrypt`` calls it. What comes back is unwrapped and checked afterwards.

    It may have a method ``proxy_unwrapper(uri)``, where Temporal's proxy can use its KMS as well. ``uri`` is what the
    proxy calls the master key. It returns a function from what the proxy had wrapped by that key to the data key, as
    bytes, which raises as `unwrap` does. The setting ``temporal_proxy_keys`` names such keys, and nothing else leads to
    a call of it.

    Raises `ConfigurationError` if ``uri`` is of another master key, or the proxy uses it in a way that is not known.
    """

    @property
    def key_id(self) -> str:
        """The canonical key id, as far as it is known without asking the KMS (of an alias: its ARN). Logs name it."""
        ...

    def accepts(self, key_id: str) -> bool:
        """Say whether this master key opens records of the key ``key_id``.

        It may ask the KMS where an alias is configured, so it is never called on an event loop.
        """
        ...

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        """Encrypt ``secret`` (32 bytes) in the KMS, bound to ``context`` (no name or value in it is empty)."""
        ...

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        """Decrypt what `wrap` made, under the same ``context``. The caller checks what comes back.

        ``wrapped.key_version`` is a claim that anybody may have made: use it to ask the KMS or to refuse, and for
        nothing else. One success vouches for all records of its proved version and context, for the time of a lease.
        A success that proves no version vouches for its own record alone: each record in use costs a call a lease.
        """
        ...

    def close(self) -> None:
        """Release connections that this object opened itself. May be called twice."""
        ...


class Provider(Protocol):
    """A callable that an entry point in the group ``envelope_codec.providers`` names; its name is the URI's scheme."""

    def __call__(self, uri: str, /) -> MasterKey: ...


@dataclass(frozen=True)
class KeyUri:
    """A parsed key URI: ``scheme://authority/path?option=value``. Parts are percent-decoded."""

    text: str = field(repr=False)
    scheme: str
    authority: str
    path: str
    options: Mapping[str, str] = field(repr=False)

    @property
    def shown(self) -> str:
        """The URI as an error may show it: without its options, whose values may be secrets."""
        return _shown(self.text)


@frameless
def parse_key_uri(
    uri: str,
    *,
    scheme: str,
    options: frozenset[str] = frozenset(),
    aliases: Mapping[str, str] | None = None,
) -> KeyUri:
    """Parse a key URI.

    Args:
        uri: the URI; ``path`` keeps no leading slash.
        scheme: the only scheme taken.
        options: names allowed in the query, each at most once and not empty.
        aliases: other names allowed for some of them. The result has the name in ``options``.

    Raises:
        ConfigurationError: it is not such a URI; the text names what is wrong and what is allowed, and repeats no
            value of an option.
    """
    _check_text(uri)
    shown = _shown(uri)
    if not uri.startswith(f"{scheme}://"):
        raise ConfigurationError(f"key URI {shown!r} must start with {scheme}://")
    if "#" in uri:
        raise ConfigurationError(f"key URI {shown!r} must not have a fragment (#…)")
    try:
        parts = urlsplit(uri)
        authority, path = unquote(parts.netloc, errors="strict"), unquote(parts.path, errors="strict")
        # A plus sign stands for itself, as in a path: it is a blank in HTML forms alone.
        text = parts.query.replace("+", "%2B")
        query = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict")
    except ValueError:
        raise ConfigurationError(f"key URI {shown!r} is malformed") from None
    found: dict[str, str] = {}
    for written, value in query:
        name = (aliases or {}).get(written, written)
        if name not in options:
            allowed = ", ".join(sorted(options)) or "none"
            raise ConfigurationError(f"key URI {shown!r} has unknown option {name!r} (known: {allowed})")
        if name in found or not value:
            raise ConfigurationError(f"key URI {shown!r} must give option {name!r} once, and not empty")
        found[name] = value
    return KeyUri(uri, scheme, authority, path.removeprefix("/"), found)


@frameless
def master_key(uri: str) -> MasterKey:
    """Make the master key that ``uri`` names: a key URI, or a key without a scheme that a provider knows (`BareKey`).

    Raises:
        ConfigurationError: malformed, unknown scheme, the provider's extra is not installed, or it can't be loaded.
    """
    uri = _with_scheme(uri)
    scheme = uri.split("://", 1)[0]
    matches = [point for point in metadata.entry_points(group=ENTRY_POINT_GROUP) if point.name == scheme]
    if not matches:
        known = sorted({p.name for p in metadata.entry_points(group=ENTRY_POINT_GROUP)})
        installed, likely = ", ".join(known) or "none", suggest_scheme(scheme, known)
        raise ConfigurationError(f"no provider for key URI scheme {scheme!r} (installed: {installed}){likely}")
    if len({point.value for point in matches}) > 1:
        raise ConfigurationError(f"more than one installed provider claims key URI scheme {scheme!r}")
    return _load(matches[0])(uri)


def provider_name(master: MasterKey) -> str:
    """Return a short name of what provides ``master``, for metrics: of the package of its class.

    A package ``envelope_codec_NAME`` is NAME, also where a class derives from one of its. Of another package it is the
    package's own name, and of this library the module's.
    """
    modules = [kind.__module__.split(".") for kind in type(master).__mro__]
    own = __name__.partition(".")[0]
    for module in modules:
        if module[0].startswith(f"{own}_"):
            return module[0].removeprefix(f"{own}_")
    return ".".join(modules[0][:2]).removeprefix(f"{own}.") if modules[0][0] == own else modules[0][0]


def unwrap_with(master: MasterKey, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
    """Unwrap with ``master``. Bare bytes, from a provider that was written before `Unwrapped`, prove no version.

    Raises:
        EnvelopeError: as the provider raised it.
        TypeError: the provider returned something else.
    """
    result: object = master.unwrap(wrapped, context)
    if isinstance(result, Unwrapped):
        return result
    if not isinstance(result, (bytes, bytearray, memoryview)):
        raise TypeError(f"{type(master).__name__}.unwrap must return Unwrapped(secret, version)")
    if type(master) not in _told_of_bytes:
        _told_of_bytes.add(type(master))
        logger.warning(
            "%s.unwrap returns bytes, which prove no key version, so that each record costs a KMS call a lease: "
            "return Unwrapped(secret, version)",
            type(master).__name__,
        )
    return Unwrapped(bytes(result), None)


def context_bytes(context: Mapping[str, str]) -> bytes:
    """Encode ``context`` as one byte string, for a KMS that binds bytes and no map (SPEC.md, "KMS context").

    Injective: no two different contexts give the same bytes.
    """
    entries = sorted((name.encode(), value.encode()) for name, value in context.items())
    parts = [_CONTEXT_PREFIX, len(entries).to_bytes(1, "big")]
    for pair in entries:
        for item in pair:
            parts += [len(item).to_bytes(2, "big"), item]
    return b"".join(parts)


def _load(point: metadata.EntryPoint) -> Provider:
    try:
        import_module(point.module)
    # Any class: what a package raises at its import is as it pleases.
    except Exception as error:
        raise _loading_error(point, error) from error
    try:
        provider: Provider = point.load()
    except AttributeError:
        raise ConfigurationError(f"the provider for {point.name}:// is broken: {point.value} is missing") from None
    except Exception as error:  # of a package that imports its SDK when its class is asked for
        raise _loading_error(point, error) from error
    return provider


def _loading_error(point: metadata.EntryPoint, error: Exception) -> ConfigurationError:
    if not _is_package_missing(error, point.module):
        said = f"{type(error).__name__}: {error}"
        return ConfigurationError(f"the provider for {point.name}:// can't be loaded: {said}")
    facts = facts_of(point.name)
    fix = f'pip install "{facts.requirement}"' if facts and facts.requirement else f"install {error.name!r}"
    missing = ConfigurationError(f"the provider for {point.name}:// needs a missing package: {fix}")
    missing.code = MISSING_PACKAGE
    return missing


def _is_package_missing(error: Exception, module: str) -> TypeGuard[ModuleNotFoundError]:
    """Whether a package that the provider in ``module`` needs is not installed, so that installing it is the fix."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return False
    return error.name.partition(".")[0] not in (module.partition(".")[0], __name__.partition(".")[0])


def show_path(path: object) -> str:
    """Show ``path`` in an error: in quotes if it looks like a path. By mistake it may be a credential."""
    text = str(path)
    return repr(text) if _PATH.fullmatch(text) else "what is given"


def show_value(value: object) -> str:
    """Show the ``value`` of an option in an error: in quotes, unless there may be a credential in it."""
    text = str(value).partition("?")[0]
    return repr(text) if _HARMLESS.fullmatch(text) else "what is given"


def show_key(key: object) -> object:
    """Show a configured key in a repr or a log: of a URI the part that names the key, without its options."""
    return _shown(key) if isinstance(key, str) else key


def _shown(uri: str) -> str:
    """Show ``uri`` up to its options, as far as it can't be a credential."""
    text = uri.partition("?")[0].partition("#")[0]
    scheme, separator, rest = text.partition("://")
    if "@" in (rest.partition("/")[0] if scheme == "localfile" else text):
        return f"{scheme}://…" if separator else "…"
    return text if separator or _KEY_NAME.match(text) else f"{text[:4]}…"


def _check_text(uri: str) -> None:
    if not isinstance(uri, str):
        raise ConfigurationError(f"an object of class {type(uri).__name__} is not a key URI")
    if "@" in uri.partition("?")[0].partition("://")[2].partition("/")[0] or ("@" in uri and "://" not in uri):
        raise ConfigurationError("a key URI must not hold credentials (…@…)")  # without repeating them
    if not uri or uri != uri.strip() or not uri.isprintable():
        raise ConfigurationError(f"{_shown(uri)!r} is not a key URI")


def _with_scheme(uri: str) -> str:
    _check_text(uri)
    if "://" in _shown(uri):
        return uri
    uris = [f"{spelling.uri}{uri}" for spelling in bare_keys() if uri.startswith(spelling.prefix)]
    if len(uris) == 1:
        return uris[0]
    if uris:
        raise ConfigurationError(f"more than one installed provider takes {_shown(uri)!r}: give SCHEME://…")
    names = ", ".join([*(spelling.name for spelling in bare_keys()), "or SCHEME://…"])
    likely = "; of a key file, localfile:///ABSOLUTE/PATH" if _KEY_FILE.match(uri) else ""
    raise ConfigurationError(f"{_shown(uri)!r} is not a key URI: give {names}{likely}")
