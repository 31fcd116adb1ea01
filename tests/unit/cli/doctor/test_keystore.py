"""The keystore, as the doctor examines it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli import main
from envelope_codec.cli.configuration import Configuration
from envelope_codec.cli.doctor.diagnosis import Diagnosis, Request, diagnose
from envelope_codec.cli.doctor.finding import Code, Finding, Level
from envelope_codec.cli.doctor.report import diagnosis_document
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.keystore import Kept
from envelope_codec.keystore_change import publish
from envelope_codec.keystore_sharing import make_slot
from envelope_codec.testing import FakeKeystore, FakeKms
from tests.support.keyring_on_fakes import wrapped_by

SECONDS = 60.0


class Told:
    """What the doctor says of a keystore."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        self.findings = [finding for finding in diagnosis.findings if finding.subject == "keystore"]
        self.document: Any = diagnosis_document(None, diagnosis)["keystore"]

    @property
    def codes(self) -> list[tuple[Code, Level]]:
        return [(finding.code, finding.level) for finding in self.findings]

    @property
    def finding(self) -> Finding:
        (finding,) = self.findings
        return finding


async def tell(keystore: Any, deadline: float = SECONDS, **settings: Any) -> Told:
    config = EnvelopeConfig(key=FakeKms("fakekms://k"), keystore=keystore, **settings)
    with quiet_logs() as words:
        request = Request(Configuration(config, "a test"), ("default",), True, None)
        return Told(await diagnose(request, Deadline(deadline), Calls(), words))


def with_rows(count: int) -> FakeKeystore:
    keystore = FakeKeystore()
    for _ in range(count):
        row = publish(wrapped_by(FakeKms())[0])
        keystore.kept[row.key] = row.serialize(), "1"
    return keystore


async def test_without_a_keystore_nothing_is_said_of_any() -> None:
    told = await tell(None)
    assert (told.findings, told.document) == ([], None)


async def test_a_keystore_with_rows_is_no_finding() -> None:
    told = await tell(with_rows(3))
    assert told.findings == []
    assert told.document["writes"] is True
    assert (told.document["outcome"], told.document["listing"]["outcome"]) == ("ok", "ok")
    assert (told.document["rows_read"], told.document["rows_malformed"]) == (3, 0)


@pytest.mark.parametrize("settings", [{"sealing": False}, {"wrapping": "direct"}])
async def test_who_publishes_nothing_needs_no_permission_to_write(settings: dict[str, Any]) -> None:
    keystore = with_rows(1)
    keystore.refuses |= {"put", "check"}
    told = await tell(keystore, **settings)
    assert told.findings == []
    assert (told.document["writes"], keystore.puts) == (False, 0)


@pytest.mark.parametrize(
    ("fault", "code"),
    [("check", Code.keystore_refused), ("down", Code.keystore_unavailable), ("broken", Code.keystore_unavailable)],
)
async def test_a_keystore_that_can_not_be_used_is_a_problem(fault: str, code: Code) -> None:
    keystore = FakeKeystore()
    keystore.down = fault == "down"
    keystore.refuses.add(fault)
    if fault == "broken":
        keystore.before_call = lambda operation: 1 / 0  # type: ignore[assignment]
    told = await tell(keystore)
    assert told.codes == [(code, Level.problem)]
    assert told.finding.fix
    assert "division" not in repr(told.findings)


async def test_rows_that_are_none_are_counted() -> None:
    keystore = with_rows(2)
    keystore.kept[bytes(32)] = b"\x02a later version", "1"
    told = await tell(keystore)
    assert told.codes == [(Code.keystore_rows_malformed, Level.problem)]
    assert told.finding.text.startswith("1 of the 3 rows")


async def test_active_slots_are_no_rows_that_are_none() -> None:
    keystore = with_rows(2)
    keystore.kept[bytes(32)] = make_slot(bytes(32)), "1"
    assert (await tell(keystore)).codes == []


async def test_a_role_that_may_not_list_is_told_so_and_no_more() -> None:
    keystore = with_rows(1)
    keystore.refuses.add("rows")
    assert (await tell(keystore)).codes == [(Code.keystore_rows_unread, Level.advice)]


async def test_a_large_keystore_is_read_in_part() -> None:
    class Endless(FakeKeystore):
        async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
            while True:
                yield Kept(bytes(32), b"", "1")

    assert (await tell(Endless())).document["rows_read"] == 1_000


async def test_a_keystore_that_hangs_is_told_in_time() -> None:
    class Stuck(FakeKeystore):
        async def check(self) -> None:
            await asyncio.Event().wait()

    told = await tell(Stuck(), 0.05)
    assert (Code.no_answer_in_time, Level.problem) in told.codes
    assert told.document["outcome"] is None


async def test_what_can_not_be_opened_is_told_without_its_url() -> None:
    told = await tell("carrier-pigeon://user:secret@coop")
    assert told.codes == [(Code.keystore_unusable, Level.problem)]
    assert "secret" not in repr(told.findings)
    assert told.document["outcome"] == "ConfigurationError"


def test_people_see_the_keystore_and_no_url(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_key_file(tmp_path / "key.json")
    (tmp_path / "rows").mkdir()
    file = tmp_path / "e.toml"
    file.write_text(f'key = "{key_uri(tmp_path / "key.json")}"\nkeystore = "file://{tmp_path}/rows"\n')
    with pytest.raises(SystemExit) as left:
        main(["doctor", "--config", str(file)])
    out = capsys.readouterr().out
    assert left.value.code == 0
    keystore = out.partition("\nKeystore\n")[2].partition("\n\n")[0]
    assert "use " in keystore
    assert "0 read, 0 malformed" in keystore
    assert str(tmp_path / "rows") not in out
    with pytest.raises(SystemExit):
        main(["doctor", "--config", str(file), "--json"])
    assert json.loads(capsys.readouterr().out)["keystore"]["outcome"] == "ok"
