"""Records that no configured master key opens, as histories and the keystore have them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from envelope_codec.cli.doctor.finding import Finding
from envelope_codec.cli.doctor.keys import KeyCheck
from envelope_codec.cli.doctor.keystore import KeystoreProbe, opened
from envelope_codec.cli.doctor.survey import Survey
from envelope_codec.cli.doctor.survey_findings import unconfigured_finding
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import Record
from envelope_codec.keystore import Keystore, KeystoreUrl
from envelope_codec.keystore_row import MalformedRow, parse_row, row_key


class LostRecords:
    """Looks for records that nobody with a configuration can open, and says so.

    Args:
        config: the configuration.
        check: knows which master keys are configured.
        calls: runs the calls of the keystore.
        deadline: for all of it.
    """

    def __init__(self, config: EnvelopeConfig, check: KeyCheck, calls: Calls, deadline: Deadline) -> None:
        self._config = config
        self._check = check
        self._calls = calls
        self._deadline = deadline
        self._found: list[tuple[Survey, list[Record]]] = []

    async def look(self, survey: Survey) -> None:
        """Find those of a survey that no configured master key opens by the envelope's own recipients."""
        if without := await self._check.without_key(list(survey.records), self._config, self._deadline):
            self._found.append((survey, without))

    async def findings(self, probe: KeystoreProbe | None) -> list[Finding]:
        """Say which ones their rows don't help either.

        Args:
            probe: what is known of the keystore, which is asked only if it has answered before; None without one.
        """
        answers = probe is not None and probe.use is not None and probe.use.error is None
        told = []
        for survey, without in self._found:
            left: Sequence[Record] | None = without
            if probe is not None and answers:
                left = await self._without_row(probe.keystore, without)
            if left:
                told.append(unconfigured_finding(survey, left, looked_up=answers))
        return told

    async def _without_row(self, keystore: KeystoreUrl | Keystore, records: Sequence[Record]) -> list[Record] | None:
        """Leave out the records whose rows a configured master key opens. All are left if the keystore fails now."""
        known: dict[bytes, Record] = {record.id: record for record in records}
        with suppress(Exception):
            found = await self._calls.result(lambda: asyncio.run(_rows_of(keystore, records)), self._deadline)
            known |= {record.id: record for record in found or ()}
        without = await self._check.without_key(list(known.values()), self._config, self._deadline)
        ids = {record.id for record in without or ()}
        return [record for record in records if record.id in ids]


async def _rows_of(keystore: KeystoreUrl | Keystore, records: Sequence[Record]) -> list[Record]:
    """Look up the rows of ``records``, and return those with the recipients of their rows besides their own."""
    found = []
    async with opened(keystore) as asked:
        for record in records:
            kept = await asked.get(row_key(record))
            with suppress(MalformedRow):
                row = parse_row(kept.key, kept.data) if kept is not None else None
                if row is not None and row.belongs_to(record):
                    found.append(replace(record, recipients=(*record.recipients, *row.recipients)))
    return found
