"""What Temporal's proxy calls its master keys: key URIs of the Go Cloud Development Kit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from envelope_codec._frames import frameless
from envelope_codec.errors import ConfigurationError


class ProxyUri(NamedTuple):
    """A key URI of Temporal's proxy.

    Attributes:
        name: host and path, percent-decoded, without a slash before it: what the KMS calls the key.
        options: those of the query.
    """

    name: str
    options: Mapping[str, str]


@frameless
def parse_proxy_uri(uri: str, *, scheme: str) -> ProxyUri:
    """Parse what Temporal's proxy calls a master key: https://gocloud.dev/howto/secrets/.

    Raises:
        ConfigurationError: it is no such URI. The text repeats nothing of it.
    """
    if not uri.startswith(f"{scheme}://"):
        raise ConfigurationError(f"the proxy's name of such a key starts with {scheme}://, in lower case")
    try:
        parts = urlsplit(uri)
        name = unquote(parts.netloc + parts.path, errors="strict").removeprefix("/")
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict")
    except ValueError:
        raise ConfigurationError("the proxy's name of the key is malformed") from None
    options = dict(query)
    if len(options) != len(query) or parts.fragment or not name:
        raise ConfigurationError("the proxy's name of the key has an option twice, a fragment, or no key")
    return ProxyUri(name, options)
