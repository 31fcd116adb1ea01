"""``envelope-codec doctor``: what is wrong with a configuration, its master keys and stores, and what Temporal has."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer

from envelope_codec.cli.configuration import NothingConfigured, load_configuration
from envelope_codec.cli.connection import ConnectionUnusable, load_connection
from envelope_codec.cli.doctor.call import Calls, Deadline
from envelope_codec.cli.doctor.configured_keys import namespaces_of
from envelope_codec.cli.doctor.diagnosis import Diagnosis, Request, diagnose
from envelope_codec.cli.doctor.finding import Code, problem
from envelope_codec.cli.doctor.issuers import load_server
from envelope_codec.cli.doctor.report import diagnosis_document, print_diagnosis
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.cli.output import Page, json_text, printable
from envelope_codec.errors import ConfigurationError


def doctor(
    key: Annotated[str | None, typer.Argument(help="The master key; else --config, else ENVELOPE_CODEC_*.")] = None,
    config: Annotated[str | None, typer.Option(metavar="FILE", help="A TOML file of settings.")] = None,
    namespace: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A namespace to examine; may be given again.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The Temporal server; its newest histories are read.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="How to connect, as the temporal command's --profile.")
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="It ends by then.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")] = False,
) -> None:
    """Try the configuration: every master key and datastore, and what Temporal stored.

    It says in plain words what to fix. It writes nothing but requests to wrap and
    unwrap a random secret, and an empty payload to the datastore in `storage`.

    Exit status: 0 if all is well, advice or not; 1 if there are problems; 2 if
    nothing could be examined.
    """
    if key is not None and config is not None:
        raise typer.BadParameter("give KEY or --config, not both", param_hint="KEY")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC writes to standard error by itself
    request, calls = None, Calls()
    try:
        settings = load_configuration(key, config)
        server = load_server(key, config)
        connection = load_connection(address, profile)
        names = namespace or namespaces_of(settings.config, connection.namespace if connection else None)
        request = Request(settings, list(dict.fromkeys(names)), bool(namespace), connection, server)
    except (NothingConfigured, ConnectionUnusable) as error:
        print(f"envelope-codec: {printable(str(error))}", file=sys.stderr)
        raise typer.Exit(2) from None
    except ConfigurationError as error:
        fix = "correct the setting or the file that is named"
        finding = problem(Code.configuration_invalid, "configuration", str(error), fix)
        diagnosis = Diagnosis(findings=[finding])
    else:
        with quiet_logs() as words:
            diagnosis = asyncio.run(diagnose(request, Deadline(timeout), calls, words))
    if as_json:
        print(json_text(diagnosis_document(request, diagnosis)))
    else:
        print_diagnosis(request, diagnosis, Page())
    _leave(diagnosis.status, calls)


def _leave(status: int, calls: Calls) -> None:
    if calls.hang:  # whatever it is that hangs, it must not keep the process from ending
        sys.stdout.flush()
        os._exit(status)
    raise typer.Exit(status)
