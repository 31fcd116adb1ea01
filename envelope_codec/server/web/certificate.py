"""The server's TLS certificate, which may be renewed while the server runs."""

from __future__ import annotations

import os
import ssl

from envelope_codec.errors import ConfigurationError
from envelope_codec.observe import logger


class Certificate:
    """A certificate and its key, in files.

    Args:
        context: connections are made with it. It has loaded the files.
        cert: file with the chain.
        key: file with the private key.
    """

    def __init__(self, context: ssl.SSLContext, cert: str, key: str) -> None:
        self._context = context
        self._cert, self._key = cert, key
        self._stamp = self._read_stamp()

    def refresh(self) -> None:
        """Load the files again if they have changed, for connections from now on.

        While the two files don't fit together, as in the middle of their renewal, the earlier ones stay in use.
        """
        stamp = self._read_stamp()
        if stamp is None or stamp == self._stamp:
            return
        try:
            # First in another context: half a change would spoil the one in use.
            check_certificate(self._cert, self._key)
            self._context.load_cert_chain(self._cert, self._key, _no_password)
        except (ConfigurationError, OSError) as error:
            logger.warning("the TLS certificate has changed and can't be loaded: %s", error)
            return
        self._stamp = stamp
        logger.info("the TLS certificate has been loaded again")

    def _read_stamp(self) -> tuple[tuple[int, int, int], ...] | None:
        try:
            found = [os.stat(path) for path in (self._cert, self._key)]  # noqa: PTH116 - follows links
        except OSError:
            return None
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in found)


def check_certificate(cert: str, key: str) -> None:
    """Raise `ConfigurationError` if these files can't be loaded, or don't fit together."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, _no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        said = getattr(error, "reason", None) or error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"server.tls_cert: {cert!r} and {key!r} can't be used: {said}") from None


def _no_password() -> str:
    """Return no password. Without this function, OpenSSL would ask for one on the terminal."""
    return ""
