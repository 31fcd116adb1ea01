"""``envelope-codec serve``: the codec server for Temporal's Web UI and command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from envelope_codec import __version__
from envelope_codec.cli.configuration import NothingConfigured, is_configured
from envelope_codec.cli.output import leave
from envelope_codec.config import EnvelopeConfig
from envelope_codec.server import ServerConfig, load

if TYPE_CHECKING:
    from envelope_codec.server.web.address import Address

_PREFIX = "ENVELOPE_CODEC_SERVER_"


def serve(
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A TOML file of settings. ENVELOPE_CODEC_* are read too, and override it."),
    ] = None,
    listen: Annotated[
        list[str] | None, typer.Option(metavar="HOST:PORT", help="Where to listen. Repeat it for several addresses.")
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="A Web UI whose pages may use the server. Repeat it for several."),
    ] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="How many processes serve.", min=1)] = None,
    tls_cert: Annotated[str | None, typer.Option(metavar="FILE", help="The certificate chain, in PEM.")] = None,
    tls_key: Annotated[
        str | None, typer.Option(metavar="FILE", help="The private key of the certificate, in PEM.")
    ] = None,
    allow_unauthenticated_network: Annotated[
        bool,
        typer.Option(
            "--allow-unauthenticated-network",
            help="Listen beyond loopback without auth: whoever reaches the server may read everything.",
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Try the settings, the master keys and the issuers' keys, print what was found, and end."
        ),
    ] = False,
) -> None:
    """Run the codec server for Temporal's Web UI and CLI.

    It decodes for people what workers sealed. It listens on 127.0.0.1:8081 unless it is told otherwise. Options
    override the environment, and the environment overrides the file.

    Exit status: 0 after SIGTERM or SIGINT, once the requests under way have ended; 1 if the server could not start, or
    if --check found something wrong; 2 if nothing is configured.
    """
    # Worker processes read their settings from the environment.
    if config is not None:
        os.environ["ENVELOPE_CODEC_FILE"] = config
    given = {"LISTEN": ",".join(listen or []), "ORIGINS": ",".join(origin or []), "WORKERS": workers}
    given |= {"TLS_CERT": tls_cert, "TLS_KEY": tls_key}
    given |= {"ALLOW_UNAUTHENTICATED_NETWORK": "true" if allow_unauthenticated_network else None}
    os.environ.update({f"{_PREFIX}{name}": str(value) for name, value in given.items() if value})
    if not is_configured():
        leave(str(NothingConfigured()), 2)
    keys, server = EnvelopeConfig.from_env(), ServerConfig.from_env()

    if check:
        lines, well = load("check").check(keys, server)
        print(*lines, sep="\n")
        raise typer.Exit(0 if well else 1)

    def announce(addresses: Sequence[Address]) -> None:
        for line in announcement(keys, server, addresses):
            print(line, file=sys.stderr, flush=True)  # standard output is for the audit trail

    load("run").run(keys, server, announce)


def announcement(config: EnvelopeConfig, server: ServerConfig, addresses: Sequence[Address]) -> Iterator[str]:
    """Say what the server is, for whom, and how to connect to it."""
    connect = load("pages.instructions")
    url = connect.public_url(server, addresses)
    yield f"envelope-codec {__version__}: codec server at {url}"
    yield f"  listens on  {', '.join(map(str, dict.fromkeys(addresses)))}, {'https' if server.tls_cert else 'http'}"
    yield f"  opens for   {_namespaces(config)}"
    yield f"  for whom    {_for_whom(server)}"
    yield (
        f"  for pages   of {', '.join(server.origins)}"
        if server.origins
        else ("  for pages   of no Web UI: name its origin as server.origins, or with --origin")
    )
    yield f"  audit       {server.audit_file or 'standard output'}"
    yield f"  Web UI      {connect.dev_server_line(url)}"
    yield f"              or: {connect.web_ui_steps(server.wants_tokens)}"
    yield f"  CLI         {connect.command_line(url, server.wants_tokens)}"
    if not server.on_loopback and not server.tls_cert:
        yield "  WARNING     plaintext goes over the network unless a proxy speaks https: see server.tls_cert"
    if not server.on_loopback and not server.wants_tokens:
        yield "  WARNING     whoever reaches the server may read everything: see server.auth"


def _namespaces(config: EnvelopeConfig) -> str:
    names = ", ".join(config.namespaces)
    if config.key is None:
        return names
    return f"every namespace; {names} with keys of their own" if names else "every namespace"


def _for_whom(server: ServerConfig) -> str:
    if server.wants_tokens:
        issuers = [issuer.issuer for issuer in server.auth] + ["a token file"] * bool(server.token_files)
        return f"callers with a token of {' or '.join(issuers)}, as {len(server.rules)} rules allow"
    where = "this machine" if server.on_loopback else "the network"
    return f"everyone on {where}, as {len(server.rules)} rules allow" if server.rules else f"everyone on {where}"
