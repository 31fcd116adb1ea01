"""Keys as Temporal's proxy names them: ``gcpkms://NAME?additional_authenticated_data=BASE64URL``."""

from __future__ import annotations

import base64
import binascii

from envelope_codec.errors import ConfigurationError
from envelope_codec.provider import parse_proxy_uri

SCHEME = "gcpkms"

_AAD = "additional_authenticated_data"


def read_aad(uri: str, name: str) -> bytes:
    """Read the additional data with which the proxy has its data keys wrapped: empty, unless ``uri`` has some.

    Raises:
        ConfigurationError: ``uri`` is of another key than ``name``, or has an option that is not known.
    """
    parsed = parse_proxy_uri(uri, scheme=SCHEME)
    if parsed.name != name:
        raise ConfigurationError(f"the proxy's name is of another key than {name}")
    if set(parsed.options) - {_AAD}:
        raise ConfigurationError(f"the proxy's name of the key has another option than {_AAD}, which it does not take")
    try:
        return base64.b64decode(parsed.options.get(_AAD, ""), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(f"the proxy's name of the key has an {_AAD} that is not base64url") from None
