"""Keys as Temporal's proxy names them: ``azurekeyvault://HOST/keys/KEY/VERSION?algorithm=RSA-OAEP-256``."""

from __future__ import annotations

from envelope_codec.errors import ConfigurationError
from envelope_codec.provider import parse_proxy_uri
from envelope_codec_azure._key_id import VaultKey, is_version

_SCHEME = "azurekeyvault"
_ALGORITHM = "RSA-OAEP-256"


def read_version(uri: str, key: VaultKey) -> str:
    """Read the version of the key that the proxy uses: empty for the latest one, whichever that is.

    Raises:
        ConfigurationError: ``uri`` is of another key, or of another algorithm.
    """
    parsed = parse_proxy_uri(uri, scheme=_SCHEME)
    host, _, path = parsed.name.partition("/keys/")
    name, separator, version = path.partition("/")
    if (host.lower(), name.lower()) != (key.host, key.name.lower()):
        raise ConfigurationError(f"the proxy's name is of another key than {key.id}: it is {_SCHEME}://HOST/keys/KEY")
    if parsed.options.get("algorithm", _ALGORITHM) != _ALGORITHM or set(parsed.options) - {"algorithm"}:
        raise ConfigurationError(f"the proxy's name of the key has other options than algorithm={_ALGORITHM}")
    if separator and not is_version(version):
        raise ConfigurationError("the proxy's name of the key ends with what is no version of a key")
    return version
