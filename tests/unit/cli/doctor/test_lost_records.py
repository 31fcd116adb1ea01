"""Records that no configured master key opens, and what their rows in the keystore change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.doctor.answer import Answer
from envelope_codec.cli.doctor.finding import Code, Finding
from envelope_codec.cli.doctor.keys import KeyCheck
from envelope_codec.cli.doctor.keystore import KeystoreProbe
from envelope_codec.cli.doctor.lost_records import LostRecords
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.keys.master_keys import MasterKeys
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.envelope import Record
from envelope_codec.errors import StoreUnavailable
from envelope_codec.keystore_change import publish
from envelope_codec.testing import FakeKeystore, FakeKms
from tests.support.doctor_surveys import Sealer, started, surveyed

NEW = FakeKms("fakekms://new")


async def told(
    config: EnvelopeConfig, survey: Any, keystore: FakeKeystore | None, error: Exception | None = None
) -> list[Finding]:
    probe = KeystoreProbe(keystore, writes=True, use=Answer(0.0, error)) if keystore is not None else None  # type: ignore[arg-type]
    with quiet_logs() as words:
        calls, deadline = Calls(), Deadline(60.0)
        lost = LostRecords(config, KeyCheck(calls, MasterKeys(), words), calls, deadline)
        await lost.look(survey)
        return await lost.findings(probe)


def kept(record: Record, by: FakeKms) -> FakeKeystore:
    """A keystore with the row of ``record``, which names ``by`` as well."""
    keystore = FakeKeystore()
    more = replace(record.recipients[0], key_id=by.key_id)
    row = publish(replace(record, recipients=(*record.recipients, more)))
    keystore.kept[row.key] = row.serialize(), "1"
    return keystore


async def test_a_record_whose_row_a_configured_key_opens_is_not_lost(seal: Sealer) -> None:
    config = EnvelopeConfig(key=NEW)
    survey = surveyed(config, started(await seal(FakeKms("fakekms://old"))))
    (record,) = survey.records
    (without,) = await told(config, survey, None)
    assert (without.code, without.subject) == (Code.key_not_configured, survey.namespace)
    assert without.fix.endswith("name the keystore that it was retired with")
    assert await told(config, survey, kept(record, NEW)) == []


async def test_a_row_that_does_not_help_is_said(seal: Sealer) -> None:
    config = EnvelopeConfig(key=NEW)
    survey = surveyed(config, started(await seal(FakeKms("fakekms://old"))))
    (record,) = survey.records
    stranger = kept(record, FakeKms("fakekms://stranger"))
    damaged = FakeKeystore()
    damaged.kept.update((key, (b"no row", "1")) for key in stranger.kept)
    for keystore in (stranger, damaged, FakeKeystore()):
        (finding,) = await told(config, survey, keystore)
        assert ", and the keystore does not help: fakekms://old" in finding.text


async def test_a_keystore_that_does_not_answer_is_not_asked(seal: Sealer) -> None:
    config = EnvelopeConfig(key=NEW)
    survey = surveyed(config, started(await seal(FakeKms("fakekms://old"))))
    (record,) = survey.records
    (finding,) = await told(config, survey, kept(record, NEW), StoreUnavailable("no answer"))
    assert "the keystore" not in finding.text
