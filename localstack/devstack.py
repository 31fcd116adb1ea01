"""Real servers on this machine, without Docker: Temporal, a Vault server, AWS KMS and S3, GCP KMS, Azure Key Vault,
datastores.

For tests and the demo::

    with TemporalServer() as temporal, OpenBao() as vault:
        print(temporal.address, vault.address, vault.token)

and for people: ``python localstack/devstack.py up temporal vault`` starts servers, makes keys, a bucket and a database
on them, prints the settings to use, and stops them on Ctrl-C. Without names it starts all that are installed, and says
how to get the others.

Every server listens on 127.0.0.1 only, on a free port, keeps its files in a scratch folder that is removed when it
stops, and ends with the process that started it. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from blobstores import AzuriteServer, GcsServer
from datastores import DynamoDbServer, MariaDbServer, MongoServer, PostgresServer, ValkeyServer
from localserver import Server, ServerFailed, ServerMissing
from provisions import KEY, STORAGE, made_on
from servers import AzureKeyVaultServer, GcpKmsServer, LocalStack, OpenBao, TemporalServer

__all__ = [
    "SERVERS",
    "AzureKeyVaultServer",
    "AzuriteServer",
    "DynamoDbServer",
    "GcpKmsServer",
    "GcsServer",
    "LocalStack",
    "MariaDbServer",
    "MongoServer",
    "OpenBao",
    "PostgresServer",
    "Server",
    "ServerFailed",
    "ServerMissing",
    "TemporalServer",
    "ValkeyServer",
]

ROOT = Path(__file__).resolve().parent.parent


SERVERS: Mapping[str, type[Server]] = {
    "temporal": TemporalServer,
    "vault": OpenBao,
    "aws": LocalStack,
    "gcp": GcpKmsServer,
    "azure": AzureKeyVaultServer,
    "valkey": ValkeyServer,
    "postgresql": PostgresServer,
    "mongodb": MongoServer,
    "gcs": GcsServer,
    "azurite": AzuriteServer,
}
"""By the names that `up` takes. MariaDB is not among them: no package for pip brings it."""


def up(names: Sequence[str]) -> int:
    """Run servers, with what trials need on them, until a signal comes or one of them ends.

    Without names: all that are installed. With names, each of them has to be.
    """
    with contextlib.ExitStack() as stack:
        servers: dict[str, Server] = {}
        missing: list[str] = []
        for name in dict.fromkeys(names or SERVERS):
            server = TemporalServer(ui=True) if name == "temporal" else SERVERS[name]()
            print(f"# starting {server.name} …", file=sys.stderr, flush=True)
            try:
                servers[name] = stack.enter_context(server)
            except ServerMissing as error:
                missing.append(f"{name}: {error}")
        for text in missing:
            print(f"# not started, {text}", file=sys.stderr)
        if missing:
            print("# `make servers` installs all of them into this folder", file=sys.stderr, flush=True)
        if not servers or (names and missing):
            return 1
        made = {name: made_on(name, server) for name, server in servers.items()}
        _print_settings(servers, made)
        print("# Ctrl-C stops them", flush=True)
        while True:
            for server in servers.values():
                if server.exit_code is not None:
                    print(f"{server.name} ended with exit code {server.exit_code}", file=sys.stderr)
                    return 1
            time.sleep(0.5)


def _print_settings(servers: Mapping[str, Server], made: Mapping[str, Mapping[str, str]]) -> None:
    """Lines to paste into a shell. Of settings that exclude one another all but the first are comments."""
    print("\n# paste this into another terminal")
    for server in servers.values():
        print(f"# {server.name}: {server.summary}")
        for setting, value in server.settings.items():
            print(f"export {setting}={value}")
    chosen: set[str] = set()
    for setting, what in ((KEY, "the master key"), (STORAGE, "payloads in a datastore, if you want that")):
        given = [(servers[name].name, settings[setting]) for name, settings in made.items() if setting in settings]
        if given:
            print(f"# {what}: one of these")
        for server_name, value in given:
            mark = "" if setting == KEY and setting not in chosen else "# "
            chosen.add(setting)
            print(f"{mark}export {setting}={shlex.quote(value)}  # {server_name}")


def _use_environment() -> None:
    """Go on in the environment that `make` has made, if this Python is another: the servers are installed there."""
    python = ROOT / ".venv" / "bin" / "python"
    if (ROOT / ".venv" / ".dev").exists() and Path(sys.prefix) != ROOT / ".venv":
        os.execv(python, [str(python), *sys.argv])


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="devstack", description="Real servers on 127.0.0.1, without Docker.")
    command = parser.add_subparsers(dest="command", required=True).add_parser(
        "up", help="start servers, print their addresses, stop them on Ctrl-C"
    )
    command.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(SERVERS)}; without names all that are installed"
    )
    names = parser.parse_args(arguments).names
    if unknown := [name for name in names if name not in SERVERS]:
        parser.error(f"no server is called {unknown[0]!r}: choose from {', '.join(SERVERS)}")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return up(names)
    except KeyboardInterrupt:
        return 0
    except (ServerMissing, ServerFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    _use_environment()
    sys.exit(main())
