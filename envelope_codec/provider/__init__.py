"""For authors of providers: everything that a provider shares with others.

A provider is a package that imports `envelope_codec.kms`, `envelope_codec.errors` and this module, and nothing else of
the library. See ``docs/write-a-provider.md``, which builds one.

- `ProviderFacts`, `Option`, `BareKey`: what a provider says about itself, in a module that imports no SDK.
- `Meaning`, `meanings`: what a failure means, with its stable reason code and a hint.
- `asks_kms`, `ErrorTable`, `Row`, `quote`, `Failed`: from an exception of the SDK to the error of the library.
- `ProcessClient`: one client for each process. `PerProcess`, `renew_after_fork`, `in_child` and `keep` are below it.
- `parse_options`, `seconds`, `check_url`, `is_loopback`, `is_exposed`, `check_no_options`, `choose`: options.
- `parse_proxy_uri`, `ProxyUri`: what Temporal's proxy calls a master key, for `proxy_unwrapper`.
- `WireLog`: keeps secrets out of the debug log of an SDK.
- `frameless`, `without_frames`, `place_of`: errors without the frames that they passed through.
"""

from __future__ import annotations

from envelope_codec._facts import BareKey, Meaning, Option, ProviderFacts
from envelope_codec._frames import frameless, place_of, without_frames
from envelope_codec._process import PerProcess, in_child, keep, renew_after_fork
from envelope_codec.provider import meanings
from envelope_codec.provider._call import ErrorTable, Failed, Row, asks_kms, quote
from envelope_codec.provider._client import ProcessClient
from envelope_codec.provider._options import (
    CONNECT_TIMEOUT,
    LONGEST_SECONDS,
    READ_TIMEOUT,
    check_no_options,
    check_url,
    choose,
    is_exposed,
    is_loopback,
    parse_options,
    seconds,
)
from envelope_codec.provider._proxy import ProxyUri, parse_proxy_uri
from envelope_codec.provider._wirelog import WireLog

__all__ = [
    "CONNECT_TIMEOUT",
    "LONGEST_SECONDS",
    "READ_TIMEOUT",
    "BareKey",
    "ErrorTable",
    "Failed",
    "Meaning",
    "Option",
    "PerProcess",
    "ProcessClient",
    "ProviderFacts",
    "ProxyUri",
    "Row",
    "WireLog",
    "asks_kms",
    "check_no_options",
    "check_url",
    "choose",
    "frameless",
    "in_child",
    "is_exposed",
    "is_loopback",
    "keep",
    "meanings",
    "parse_options",
    "parse_proxy_uri",
    "place_of",
    "quote",
    "renew_after_fork",
    "seconds",
    "without_frames",
]
