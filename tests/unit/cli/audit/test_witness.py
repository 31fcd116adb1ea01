"""The second witness: what a KMS says of its keys is said, and a KMS that says nothing stops nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.audit import witness
from envelope_codec.cli.audit.report import Report
from envelope_codec.cli.audit.web_page import render
from envelope_codec.cli.audit.witness import ask_witnesses
from envelope_codec.cli.output import Page
from envelope_codec.errors import KeyDenied
from envelope_codec.kms import LastUse
from envelope_codec.testing import FakeKms
from tests.support.audit_findings import findings, found
from tests.support.audited_payloads import record

DAY = 1_700_000_000.0


class Telling(FakeKms):
    """A KMS that tells when its key was last used."""

    def __init__(self, key_id: str, tell: Callable[[str], Any]) -> None:
        super().__init__(key_id)
        self.last_use = tell


def deny(key_id: str) -> Any:
    raise KeyDenied("permission is missing", operation="last use", key_id=key_id)


def fail(key_id: str) -> Any:
    raise RuntimeError(key_id)


@pytest.mark.parametrize(
    ("tell", "said"),
    [
        (lambda key_id: LastUse(DAY, "Decrypt", "e-1"), "last used on 2023-11-14 (Decrypt, event e-1)"),
        (lambda key_id: LastUse(DAY), "last used on 2023-11-14 (use not told)"),
        (lambda key_id: LastUse(None, since=DAY), "has recorded no use since 2023-11-14"),
        (lambda key_id: LastUse(None), "has recorded no use"),
        (lambda key_id: None, "does not tell when the key was last used"),
        (lambda key_id: "yesterday", "does not tell when the key was last used"),
        (deny, "could not be asked: permission is missing"),
        (fail, "could not be asked: RuntimeError"),
    ],
)
async def test_what_the_kms_says_is_said(tell: Callable[[str], Any], said: str) -> None:
    config = EnvelopeConfig(key=Telling("OLD", tell))
    told = await ask_witnesses(config, "default", ["OLD"])
    assert said in told["OLD"]


async def test_a_provider_without_it_and_a_key_of_others_stop_nothing() -> None:
    told = await ask_witnesses(EnvelopeConfig(key=FakeKms("NEW")), "default", ["NEW", "OLD"])
    assert "does not tell" in told["NEW"]
    assert "no master key of the configuration is this one" in told["OLD"]


async def test_the_key_that_accepts_it_is_asked_by_its_id() -> None:
    asked: list[str] = []

    def tell(key_id: str) -> LastUse:
        asked.append(key_id)
        return LastUse(DAY)

    config = EnvelopeConfig(key=FakeKms("NEW"), decrypt_keys=[Telling("OLD", tell)])
    assert "last used" in (await ask_witnesses(config, "default", ["OLD"]))["OLD"]
    assert asked == ["OLD"]


async def test_a_key_that_can_t_be_asked_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = FakeKms("NEW")
    monkeypatch.setattr(broken, "accepts", fail)
    telling = Telling("OLD", lambda key_id: LastUse(DAY))
    for keys in ((broken, telling), (telling, broken)):
        told = await ask_witnesses(EnvelopeConfig(key=keys[0], decrypt_keys=[keys[1]]), "default", ["OLD", "LOST"])
        assert "last used on 2023-11-14" in told["OLD"]
        assert told["LOST"] == "the KMS could not be asked: RuntimeError"


async def test_a_kms_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(witness, "_SECONDS", 0.05)

    def hang(key_id: str) -> None:
        release.wait(30)

    told = await ask_witnesses(EnvelopeConfig(key=Telling("OLD", hang)), "default", ["OLD"])
    release.set()
    assert told == {"OLD": "the KMS gave no answer in time"}


def test_every_report_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    of = Report(findings(found("a", record("OLD")), witnesses={"OLD": "the KMS <b>"}), "a:1", "default")
    of.print(Page())
    assert "the KMS <b>" in capsys.readouterr().out
    assert of.document()["keys"][0]["kms"] == "the KMS <b>"
    assert "the KMS &lt;b&gt;" in render(of)
