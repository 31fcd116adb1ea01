"""``envelope-codec audit``: which master keys the histories of a namespace still need."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from envelope_codec import __version__
from envelope_codec.cli.audit.checkpoint import Checkpoint
from envelope_codec.cli.audit.distribution import Audited, Distribution, audit_by_workers
from envelope_codec.cli.audit.findings import Findings
from envelope_codec.cli.audit.key_name import KeyName
from envelope_codec.cli.audit.report import Report
from envelope_codec.cli.audit.rewrapped import Rewrapped, see_rewrapped
from envelope_codec.cli.audit.stopped import Stopped
from envelope_codec.cli.audit.survey import run_audit
from envelope_codec.cli.audit.verdict import State
from envelope_codec.cli.audit.web_page import render
from envelope_codec.cli.audit.window import read_timestamp
from envelope_codec.cli.audit.witness import ask_witnesses
from envelope_codec.cli.connection import Connection
from envelope_codec.cli.distributed.follow import DEFAULT_QUEUE, leave_running
from envelope_codec.cli.keystores import explain, keystore_url
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.cli.needed import need_configuration, need_connection
from envelope_codec.cli.options import AddressOption, JsonOption, ProfileOption, QueueOption
from envelope_codec.cli.output import Page, complain, json_text, leave
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import StoreRefused, StoreUnavailable
from envelope_codec.keystore_role import Role
from envelope_codec.store import parse_store_url

NEEDED = 3
INCOMPLETE = 4
INTERRUPTED = 130

_RATE = 200.0


def audit(
    address: AddressOption = None,
    profile: ProfileOption = None,
    namespace: Annotated[str | None, typer.Option(metavar="NAME", help="The namespace to read.")] = None,
    query: Annotated[
        str, typer.Option(metavar="QUERY", help="Read only the workflows that match this visibility query.")
    ] = "",
    fail_if_needed: Annotated[
        str | None, typer.Option(metavar="KEY", help="Exit with 3 if this master key, an id or URI, is needed.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="FILE", help="A TOML file of settings, whose datastores are read too."),
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(metavar="TIME", help="Look at this moment, such as 2026-12-24T18:00:00Z.")
    ] = None,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long the server may take to list a change.")
    ] = 60.0,
    rate: Annotated[
        float, typer.Option(metavar="NUMBER", min=0.1, help="How many requests a second the server gets at most.")
    ] = _RATE,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep what was counted in this file, and go on from it.")
    ] = None,
    foreign: Annotated[
        list[str] | None,
        typer.Option(metavar="ENCODING", help="An encoding of another codec that never holds an envelope."),
    ] = None,
    ask_kms: Annotated[
        bool, typer.Option("--ask-kms", help="Ask the KMS of each key of the configuration when it was last used.")
    ] = False,
    importing: Annotated[
        bool, typer.Option("--import", help="Add the records that are found to the keystore of the configuration.")
    ] = False,
    rewrapped_to: Annotated[
        str | None,
        typer.Option(metavar="NEW", help="See whether all that needs KEY opens with this key, through the keystore."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the report to this file as a page, with plots.")
    ] = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Have workers do it, on any number of machines, as a workflow.")
    ] = False,
    results: Annotated[
        str | None,
        typer.Option(metavar="URL", help="For --distributed: a datastore where all its workers keep results."),
    ] = None,
    queue: QueueOption = DEFAULT_QUEUE,
    work_namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="For --distributed: the namespace of the workflow itself.")
    ] = None,
    at_once: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=200, help="For --distributed: windows worked on at once.")
    ] = 8,
    takeover: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1, help="For --distributed: when a silent worker's work goes to another."),
    ] = 30.0,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print one line of CSV for each version of a key.")] = False,
) -> None:
    """Say which master keys the histories of a namespace still need.

    It reads all histories, open and closed, and schedules, standalone activities and operations. It changes nothing in
    them, opens no payload, and asks a KMS only with --ask-kms or --rewrapped-to. With a configuration it reads the
    datastores too: every payload in them is fetched.

    Exit status: 0 if it could read everything, and KEY is not needed; 1 if it had to stop; 2 for wrong usage; 3 if KEY
    is needed; 4 if it is incomplete. With --rewrapped-to, KEY is not needed where NEW opens all from the keystore.

    With --distributed, workers do it: envelope-codec worker. An interrupt ends this command alone, with 130.
    """
    if as_json and as_csv:
        raise typer.BadParameter("choose one of --json and --csv", param_hint="--csv")
    _check_place(html)
    moment = _read_moment(as_of)
    key = KeyName(fail_if_needed) if fail_if_needed is not None else None
    _check_combination(results, checkpoint, distributed=distributed, importing=importing)
    settings = need_configuration(config) if config is not None else None
    _check_settings(settings, asking=ask_kms, importing=importing)
    _check_rewrapped(rewrapped_to, fail_if_needed, settings)
    connection = need_connection(address, profile)
    name = namespace or connection.namespace or "default"
    parameters = {"--address": connection.address, "--namespace": name, "--query": query, "release": __version__}
    if importing:
        parameters["--import"] = "yes"
    with quiet_logs(), Checkpoint(checkpoint, parameters, moment) as known:
        try:
            if results is not None:
                how = Distribution(queue, work_namespace or name, parse_store_url(results), at_once, takeover)
                findings = _distribute(connection, Audited(name, query, moment, wait, rate), config, how)
            else:
                work = run_audit(connection, name, query, known, wait, rate, settings, importing=importing)
                findings = asyncio.run(work)
        except Stopped as stopped:
            going_on = "; the same command goes on from the checkpoint" if checkpoint is not None else ""
            leave(f"stopped: {stopped}{going_on}", 1)
        findings = replace(findings, vouched=frozenset(foreign or ()))
        asked = key.choose(findings.whole) if key is not None else ()
        if ask_kms and settings is not None:
            key_ids = sorted({one.key_id for one in findings.whole.needs} | {*asked})
            findings = replace(findings, witnesses=asyncio.run(ask_witnesses(settings, name, key_ids)))
        rewrapped = None
        if rewrapped_to is not None and settings is not None:
            rewrapped = _see_rewrapped(settings, rewrapped_to, asked, findings)
    doubt = key.find_doubt(asked, findings.whole) if key is not None else ""
    report = Report(findings, connection.address, name, query, asked, doubt, rewrapped)
    _show(report, as_json=as_json, as_csv=as_csv)
    if html is not None:
        _write_page(html, report)
    if doubt:
        complain(f"--fail-if-needed {fail_if_needed!r}: {doubt}")
    raise typer.Exit(_status(report, asked))


def _check_place(html: Path | None) -> None:
    """See whether the page can be written, before hours are spent on what it is to show."""
    if html is not None and not (html.parent.is_dir() and os.access(html.parent, os.W_OK) and not html.is_dir()):
        raise typer.BadParameter("no file can be written there", param_hint="--html")


def _check_combination(results: str | None, checkpoint: Path | None, *, distributed: bool, importing: bool) -> None:
    if results is not None and not distributed:
        raise typer.BadParameter("goes with --distributed", param_hint="--results")
    if distributed and results is None:
        raise typer.BadParameter("name a datastore that all workers reach: --results", param_hint="--distributed")
    if distributed and checkpoint is not None:
        raise typer.BadParameter("a distributed audit needs none", param_hint="--checkpoint")
    if distributed and importing:
        raise typer.BadParameter("does not go with --distributed", param_hint="--import")


def _distribute(connection: Connection, audited: Audited, config: str | None, how: Distribution) -> Findings:
    """Have workers do it. If the user interrupts the command, the work goes on."""
    settings = need_configuration(config, ". With it, what workers tell each other is sealed")
    try:
        return asyncio.run(audit_by_workers(connection, audited, settings, how, with_stores=config is not None))
    except KeyboardInterrupt:
        leave(leave_running(audited.workflow_id, how.namespace), INTERRUPTED)


def _check_settings(settings: EnvelopeConfig | None, *, asking: bool, importing: bool) -> None:
    if asking and settings is None:
        raise typer.BadParameter("name a configuration with master keys: --config", param_hint="--ask-kms")
    if importing and (settings is None or settings.keystore is None):
        raise typer.BadParameter("name a configuration with a keystore: --config", param_hint="--import")


def _check_rewrapped(new: str | None, old: str | None, settings: EnvelopeConfig | None) -> None:
    if new is None:
        return
    if old is None:
        raise typer.BadParameter("name the old master key: --fail-if-needed", param_hint="--rewrapped-to")
    if settings is None or settings.keystore is None:
        raise typer.BadParameter("name a configuration with a keystore: --config", param_hint="--rewrapped-to")


def _see_rewrapped(settings: EnvelopeConfig, new: str, old: tuple[str, ...], findings: Findings) -> Rewrapped:
    try:
        return asyncio.run(see_rewrapped(settings, new, frozenset(old), findings.whole))
    except (StoreRefused, StoreUnavailable) as error:
        leave(explain(keystore_url(settings), error, Role.export), 1)


def _show(report: Report, *, as_json: bool, as_csv: bool) -> None:
    page = Page()  # it also lets standard output take every character
    if as_json:
        print(json_text(report.document()))
    elif as_csv:
        report.write_csv(sys.stdout)
    else:
        report.print(page)


def _write_page(path: Path, report: Report) -> None:
    """Write the page. Only its owner can read it, for it has the ids of workflows."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(render(report))
    except OSError as error:
        leave(f"can't write {str(path)!r}: {error.strerror}", 1)


def _status(report: Report, asked: tuple[str, ...]) -> int:
    """Choose the exit status. An incomplete audit, or a doubtful name, never says that a key is not needed."""
    states = [report.verdicts[one].state for one in asked]
    if State.needed in states and report.rewrapped is not None and report.rewrapped.is_complete:
        return INCOMPLETE if report.gaps else 0
    if State.needed in states:
        return NEEDED
    return INCOMPLETE if report.gaps or State.unknown in states else 0


def _read_moment(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return read_timestamp(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            "give a time with its zone, such as 2026-12-24T18:00:00Z", param_hint="--as-of"
        ) from None
