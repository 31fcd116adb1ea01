"""What a command can't do without. It is left, with what to give, where nobody has named it."""

from __future__ import annotations

from envelope_codec.cli.configuration import NothingConfigured, load_configuration
from envelope_codec.cli.connection import Connection, ConnectionUnusable, load_connection
from envelope_codec.cli.output import leave
from envelope_codec.config import EnvelopeConfig

_USAGE = 2


def need_configuration(file: str | None, more: str = "") -> EnvelopeConfig:
    """Load the settings from ``file``, else from the environment. Leave the command if there are none.

    Args:
        file: path of a TOML file.
        more: is said too, if there are none.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    try:
        return load_configuration(None, file).config
    except NothingConfigured as error:
        leave(f"{error}{more}", _USAGE)


def need_connection(address: str | None, profile: str | None, whose: str = "") -> Connection:
    """Load the connection that is named. Leave the command if none is, or if it can't be used.

    Args:
        address: of the server.
        profile: a connection profile of Temporal's tools.
        whose: says more of the server, if none is named.
    """
    try:
        connection = load_connection(address, profile)
    except ConnectionUnusable as error:
        leave(str(error), _USAGE)
    if connection is None:
        leave(f"no Temporal server is named{whose}: give --address or --profile", _USAGE)
    return connection
