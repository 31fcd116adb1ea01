"""The diagnosis: it asks the KMSs, the datastores and the Temporal server, and collects what is wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from envelope_codec.cli.configuration import Configuration
from envelope_codec.cli.connection import Connection
from envelope_codec.cli.doctor.configuration_findings import configuration_findings
from envelope_codec.cli.doctor.finding import Code, Finding, Level
from envelope_codec.cli.doctor.histories import Reading, ServerFailed, read_server
from envelope_codec.cli.doctor.issuers import issuer_findings
from envelope_codec.cli.doctor.key_findings import key_findings
from envelope_codec.cli.doctor.keys import KeyCheck, Probe
from envelope_codec.cli.doctor.keystore import KeystoreProbe, probe_keystore
from envelope_codec.cli.doctor.keystore_findings import keystore_findings
from envelope_codec.cli.doctor.lost_records import LostRecords
from envelope_codec.cli.doctor.proxied_keys import proxied_key_findings
from envelope_codec.cli.doctor.recipients import Recipients, count_recipients, recipient_findings
from envelope_codec.cli.doctor.sharing_findings import sharing_findings
from envelope_codec.cli.doctor.store_findings import store_findings
from envelope_codec.cli.doctor.stores import StoreProbe, probe_stores
from envelope_codec.cli.doctor.survey import Survey
from envelope_codec.cli.doctor.survey_findings import (
    clock_findings,
    requirement_finding,
    server_finding,
    survey_findings,
)
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.keys.configured_keys import purpose_of, sealing_keys
from envelope_codec.cli.keys.master_keys import MasterKeys
from envelope_codec.cli.logs import ProviderWords
from envelope_codec.errors import KeyDenied
from envelope_codec.server import ServerConfig


@dataclass(frozen=True)
class Request:
    """What is to be examined.

    Attributes:
        configuration: the settings, and where they come from.
        namespaces: the namespaces to examine.
        asked: whether somebody named these namespaces.
        connection: the Temporal server, or None if it is not to be asked.
        server: the settings of the codec server, if there are any.
        keystore_backup: a file of ``keystore export`` to be examined, or None.
    """

    configuration: Configuration
    namespaces: Sequence[str]
    asked: bool
    connection: Connection | None
    server: ServerConfig | None = None
    keystore_backup: Path | None = None


@dataclass
class Diagnosis:
    """What was found."""

    probes: list[Probe] = field(default_factory=list)
    surveys: list[Survey] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    stores: list[StoreProbe] = field(default_factory=list)
    recipients: list[Recipients] = field(default_factory=list)
    keystore: KeystoreProbe | None = None

    @property
    def status(self) -> int:
        """The exit status: 1 if there is any problem, else 0."""
        return 1 if any(finding.level is Level.problem for finding in self.findings) else 0


async def diagnose(request: Request, deadline: Deadline, calls: Calls, words: ProviderWords) -> Diagnosis:
    """Examine everything, and end at ``deadline`` at the latest. Calls that hang are left to ``calls``."""
    config, masters = request.configuration.config, MasterKeys()
    findings = list(configuration_findings(config, request.namespaces))
    check, purpose = KeyCheck(calls, masters, words), purpose_of(config)
    unusable = {finding.subject for finding in findings if finding.code is Code.namespace_unusable}
    namespaces = [namespace for namespace in request.namespaces if namespace not in unusable]
    keys = [key for namespace in namespaces for key in sealing_keys(config, namespace)]
    # Awaited last: a store that gives no answer takes all the time there is, which the other calls need too.
    stores = asyncio.create_task(probe_stores(config, deadline, calls, words))
    keystore = asyncio.create_task(
        probe_keystore(config, deadline, calls, words, namespaces=request.namespaces, backup=request.keystore_backup)
    )
    probes, read, issuers = await asyncio.gather(
        check.run(keys, purpose, deadline),
        _read(request.connection, namespaces, deadline),
        issuer_findings(request.server, deadline),
    )
    now = time.time()
    readings = [] if isinstance(read, ServerFailed) else read
    surveys = {reading.namespace: Survey.of(reading, config) for reading in readings}
    for probe in probes:
        survey = surveys.get(probe.key.namespace)
        if survey is not None and probe.wrap is not None and isinstance(probe.wrap.error, KeyDenied):
            await check.prove(probe, list(survey.records), deadline)
    findings += [*key_findings(probes, config, purpose), *issuers]
    recipients = count_recipients(probes, surveys.values(), config)
    findings += [*recipient_findings(recipients), *sharing_findings(probes, config)]
    if isinstance(read, ServerFailed) and request.connection is not None:
        findings.append(server_finding(read, request.connection))
    lost = LostRecords(config, check, calls, deadline)
    for survey in surveys.values():
        findings += survey_findings(survey, config, request.asked)
        await lost.look(survey)
    findings += await proxied_key_findings(config, namespaces, surveys, masters, calls, deadline)
    findings += clock_findings(list(surveys.values()), now)
    if requirement := requirement_finding(config, surveys):
        findings.append(requirement)
    findings += store_findings(await stores)
    findings += keystore_findings(await keystore)
    findings += await lost.findings(keystore.result())
    with suppress(Exception):
        await calls.result(masters.close, deadline)
    findings.sort(key=lambda finding: finding.level is not Level.problem)
    return Diagnosis(probes, list(surveys.values()), findings, stores.result(), recipients, keystore.result())


async def _read(
    connection: Connection | None, namespaces: Sequence[str], deadline: Deadline
) -> list[Reading] | ServerFailed:
    if connection is None:
        return []
    try:
        return await read_server(connection, namespaces, deadline)
    except ServerFailed as error:
        return error
