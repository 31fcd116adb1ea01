"""What the doctor says of the number of recipients."""

from __future__ import annotations

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent

from envelope_codec import EnvelopeCodec, EnvelopeConfig
from envelope_codec.cli.doctor.keys import Probe
from envelope_codec.cli.doctor.recipients import Recipients, count_recipients, recipient_findings
from envelope_codec.testing import FakeKms
from tests.support.doctor_runs import examine
from tests.support.doctor_surveys import started, surveyed


async def sealed(config: EnvelopeConfig) -> HistoryEvent:
    codec = EnvelopeCodec(config)
    event = started(*await codec.encode([Payload(data=b"x")]))
    codec.close()
    return event


async def probed(config: EnvelopeConfig) -> list[Probe]:
    return (await examine(config)).probes


@pytest.mark.parametrize(
    ("denied", "sealing", "counted"),
    [
        ((), True, [Recipients("default", 3, ())]),
        ((1,), True, [Recipients("default", 3, ("backup_keys[0]",))]),
        ((0, 2), True, [Recipients("default", 3, ("key", "backup_keys[1]"))]),
        ((1,), False, []),
    ],
)
async def test_a_key_that_is_made_now(denied: tuple[int, ...], sealing: bool, counted: list[Recipients]) -> None:
    keys = [FakeKms() for _ in range(3)]
    for number in denied:
        keys[number].denied = True
    config = EnvelopeConfig(key=keys[0], backup_keys=keys[1:], sealing=sealing)
    assert (await examine(config)).recipients == counted


async def test_where_there_is_one_master_key_there_is_nothing_to_count() -> None:
    assert (await examine(EnvelopeConfig(key=FakeKms(), decrypt_keys=[FakeKms()]))).recipients == []


@pytest.mark.parametrize("mended", [True, False])
async def test_the_newest_wrapping_key_in_the_histories(mended: bool) -> None:
    key, backup = FakeKms(), FakeKms()
    config = EnvelopeConfig(key=key, backup_keys=[backup])
    backup.denied = True
    survey = surveyed(config, await sealed(config))
    backup.denied = not mended
    (counted,) = count_recipients(await probed(config), [survey], config)
    lacking = () if mended else ("backup_keys[0]",)
    assert counted == Recipients("default", 2, lacking, 1, ("backup_keys[0]",))
    (finding,) = recipient_findings([counted])
    assert (finding.code.value, finding.subject) == ("recipient-lacking", "namespace default")
    assert "has 1 of 2 recipients: backup_keys[0]" in finding.text
    assert finding.fix.startswith("nothing" if mended else "repair backup_keys[0]")


async def test_one_that_has_all_is_no_finding() -> None:
    config = EnvelopeConfig(key=FakeKms(), backup_keys=[FakeKms()])
    (counted,) = count_recipients(await probed(config), [surveyed(config, await sealed(config))], config)
    assert counted == Recipients("default", 2, (), 2, ())
    assert list(recipient_findings([counted])) == []
