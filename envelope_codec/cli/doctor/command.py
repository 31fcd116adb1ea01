"""``envelope-codec doctor``: what is wrong with a configuration, its master keys and stores, and what Temporal has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from envelope_codec.cli.configuration import (
    WAYS_TO_CONFIGURE,
    NothingConfigured,
    is_configured,
    load_configuration,
)
from envelope_codec.cli.connection import ConnectionUnusable, load_connection
from envelope_codec.cli.doctor.diagnosis import Diagnosis, Request, diagnose
from envelope_codec.cli.doctor.finding import Code, problem
from envelope_codec.cli.doctor.issuers import load_server
from envelope_codec.cli.doctor.report import diagnosis_document, print_diagnosis
from envelope_codec.cli.doctor.watch.course import Plan, run_watch
from envelope_codec.cli.doctor.watch.endpoint import Endpoint
from envelope_codec.cli.doctor.watch.scrape import AddressUnusable, parse_address
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.keys.configured_keys import NothingToExamine, namespaces_of
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.cli.options import AddressOption, ConfigOption, JsonOption, ProfileOption
from envelope_codec.cli.output import Page, json_text, leave
from envelope_codec.errors import ConfigurationError


def doctor(
    key: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="The master key. Without it, the settings come from --config."),
    ] = None,
    config: ConfigOption = None,
    namespace: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A namespace to examine. Repeat it for several.")
    ] = None,
    address: AddressOption = None,
    profile: ProfileOption = None,
    keystore_backup: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What keystore export wrote: say whether a restore would serve.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="End by then, even if a server gives no answer.")
    ] = 30.0,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show how workers and codec servers fare, again and again, until Ctrl-C.")
    ] = False,
    metrics: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="With --watch: where one of them tells its metrics. Repeat it for several."),
    ] = None,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="With --watch: the time from one look to the next.")
    ] = 2.0,
    count: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, help="With --watch: end after so many looks.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with a configuration, and how to fix it.

    It tries every master key and datastore, and reads the newest histories of the Temporal server. It writes nothing
    to Temporal. Master keys are asked to wrap and unwrap a random secret, and an empty payload is stored in the
    datastore that `storage` names.

    With --watch it goes on, and asks workers and codec servers for their metrics as well. --json prints one document a
    line then. With --metrics no configuration is needed.

    Exit status: 0 if there is no problem, with or without advice; 1 if there are problems; 2 if nothing could be
    examined. With --watch that is what the last look showed, or 0 where it was interrupted.
    """
    if key is not None and config is not None:
        raise typer.BadParameter("give KEY or --config, not both", param_hint="KEY")
    endpoints = _watched(watch, metrics or [], count, keystore_backup)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC writes to standard error by itself
    request, calls = None, Calls()
    try:
        if not endpoints or key is not None or config is not None or is_configured():
            request = _load_request(key, config, namespace, address, profile, keystore_backup)
    except ConfigurationError as error:
        fix = "correct the setting or the file that is named"
        finding = problem(Code.configuration_invalid, "configuration", str(error), fix)
        diagnosis = Diagnosis(findings=[finding])
    else:
        if watch or request is None:
            raise typer.Exit(run_watch(Plan(every, count, timeout, as_json), endpoints, request))
        with quiet_logs() as words:
            diagnosis = asyncio.run(diagnose(request, Deadline(timeout), calls, words))
    if as_json:
        print(json_text(diagnosis_document(request, diagnosis)))
    else:
        print_diagnosis(request, diagnosis, Page())
    raise typer.Exit(diagnosis.status)


def _watched(watch: bool, metrics: Sequence[str], count: int | None, backup: Path | None) -> list[Endpoint]:
    if not watch:
        for option, given in (("--metrics", metrics), ("--count", count)):
            if given:
                raise typer.BadParameter("goes with --watch", param_hint=option)
    elif backup is not None:
        raise typer.BadParameter("does not go with --watch", param_hint="--keystore-backup")
    try:
        return [Endpoint(parse_address(url)) for url in dict.fromkeys(metrics)]
    except AddressUnusable as error:
        raise typer.BadParameter(str(error), param_hint="--metrics") from None


def _load_request(
    key: str | None,
    file: str | None,
    named: Sequence[str] | None,
    address: str | None,
    profile: str | None,
    backup: Path | None,
) -> Request:
    try:
        configuration = load_configuration(key, file)
        server = load_server(key, file)
        connection = load_connection(address, profile)
        names = named or namespaces_of(configuration.config, connection.namespace if connection else None)
    except NothingConfigured:
        leave(f"nothing to examine: name a key, or {WAYS_TO_CONFIGURE}", 2)
    except (NothingToExamine, ConnectionUnusable) as error:
        leave(str(error), 2)
    if backup is not None and configuration.config.keystore is None:
        raise typer.BadParameter("goes with a keystore, and none is configured", param_hint="--keystore-backup")
    return Request(configuration, list(dict.fromkeys(names)), bool(named), connection, server, backup)
