"""Options of master keys: read from key URIs and checked."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from typing import Any, TypeVar, overload
from urllib.parse import urlsplit

from envelope_codec._facts import Option, ProviderFacts
from envelope_codec._frames import frameless
from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import KeyUri, parse_key_uri, show_value

LONGEST_SECONDS = 600.0
"""More than this is no time-out, but a mistake in the unit."""

CONNECT_TIMEOUT = 2.0
READ_TIMEOUT = 5.0

_LOOPBACK_4 = ipaddress.IPv4Network("127.0.0.0/8")
_LOOPBACK_6 = ipaddress.IPv6Address("::1")

T = TypeVar("T")


@frameless
def parse_options(uri: str, facts: ProviderFacts) -> tuple[KeyUri, dict[str, Any]]:
    """Parse a key URI with the options of ``facts``.

    Returns:
        the URI, and its options by name, read as their `Option.kind` says: arguments for a constructor.

    Raises:
        ConfigurationError: the URI or an option is wrong. The text repeats no value that may be a secret.
    """
    names = frozenset(option.name for option in facts.options)
    aliases = {alias: option.name for option in facts.options for alias in option.aliases}
    parsed = parse_key_uri(uri, scheme=facts.scheme, options=names, aliases=aliases)
    kinds = {option.name: option for option in facts.options}
    return parsed, {name: _read(kinds[name], text) for name, text in parsed.options.items()}


def _read(option: Option, text: str) -> Any:
    if option.kind == "seconds":
        return seconds(option.name, text)
    if option.kind == "flag":
        return _flag(option.name, text)
    return tuple(text.split(",")) if option.kind == "list" else text


@overload
def seconds(name: str, value: float | str) -> float: ...
@overload
def seconds(name: str, value: float | str | None, default: float) -> float: ...
def seconds(name: str, value: float | str | None, default: float | None = None) -> float:
    """Check a number of seconds: more than 0 and at most `LONGEST_SECONDS`.

    Args:
        name: of the option, for the error.
        value: a number, or a text with one. None stands for ``default``.
        default: taken as it is.

    Raises:
        ConfigurationError: it is something else.
    """
    if value is None and default is not None:
        return default
    try:
        number = float(value) if isinstance(value, (int, float, str)) else math.nan
    except ValueError:
        number = math.nan
    if not 0 < number <= LONGEST_SECONDS:
        raise ConfigurationError(
            f"option {name}={show_value(value)} must be seconds, more than 0 and at most {LONGEST_SECONDS:.0f}"
        )
    return number


def _flag(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise ConfigurationError(f"option {name}={show_value(text)} must be true or false")
    return text == "true"


def check_url(name: str, value: str, *, path: bool = False) -> str:
    """Check the URL of a server: ``http://HOST[:PORT]`` or ``https://HOST[:PORT]``, without credentials.

    Args:
        name: of the option, for the error.
        value: the URL.
        path: whether it may have a path.

    Returns:
        the URL, without a slash at its end.

    Raises:
        ConfigurationError: it is something else.
    """
    if not isinstance(value, str) or "@" in value:
        raise ConfigurationError(f"option {name} must not hold credentials (…@…)")
    tail = "[/PATH]" if path else ""
    problem = ConfigurationError(
        f"option {name}={show_value(value)} must be http://HOST[:PORT]{tail} or https://HOST[:PORT]{tail}"
    )
    try:
        parts = urlsplit(value)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise problem from None
    rest = f"://{parts.netloc}{parts.path if path else ''}"
    written = value[len(parts.scheme) :]
    if not valid or written not in (rest, f"{rest}/") or not value.isprintable() or " " in value:
        raise problem
    return value.rstrip("/")


def is_loopback(host: str | None) -> bool:
    """Whether ``host`` is this machine for certain: ``localhost``, 127.0.0.0/8 or ::1, in brackets or not."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address((host or "").strip("[]"))
    except ValueError:
        return False
    return address in _LOOPBACK_4 if address.version == 4 else address == _LOOPBACK_6


def is_exposed(url: str) -> bool:
    """Whether what is sent to ``url`` leaves this machine without TLS."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname)


def check_no_options(options: Mapping[str, object]) -> None:
    """Check that no option is given beside ``client=``, which has its own settings.

    Args:
        options: by name; None is not given.

    Raises:
        ConfigurationError: one is.
    """
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ConfigurationError(
            f"options {', '.join(given)} can't be given together with client=: configure that client instead"
        )


def choose(name: str, value: T | None, alias: str, other: T | None) -> T | None:
    """Choose between two names of one option.

    Args:
        name, value: as documented.
        alias, other: as it was called before.

    Raises:
        ConfigurationError: both are given.
    """
    if value is not None and other is not None:
        raise ConfigurationError(f"options {name} and {alias} are one: give {name} alone")
    return other if value is None else value
