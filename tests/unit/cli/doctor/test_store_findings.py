"""What the doctor says of datastores."""

from __future__ import annotations

import pytest

from envelope_codec.cli.doctor.answer import Answer
from envelope_codec.cli.doctor.finding import Code, Level
from envelope_codec.cli.doctor.store_findings import store_findings
from envelope_codec.cli.doctor.stores import StoreProbe
from envelope_codec.datastore.reasons import MAYBE_MISSING
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, StoreRefused, StoreUnavailable
from envelope_codec.store import StoreUrl

NOT_LISTED = StoreRefused("permission is missing")
NOT_LISTED.code = MAYBE_MISSING


def probe(error: EnvelopeError | None = None, *, writes: bool = True, name: str = "mine", **more: object) -> StoreProbe:
    setting = "storage" if writes else "former_storage[0]"
    answer = Answer(0.1, error, "its words" if error else "")
    return StoreProbe(setting, StoreUrl(name, "s3://bucket"), writes, **{"answer": answer, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "code", "level"),
    [
        (probe(StoreRefused("no")), Code.store_refused, Level.problem),
        (probe(StoreUnavailable("no")), Code.store_unavailable, Level.problem),
        (probe(InvalidCiphertext("no")), Code.store_invalid, Level.problem),
        (probe(NOT_LISTED, writes=True), Code.store_refused, Level.problem),
        (probe(NOT_LISTED, writes=False), Code.reading_unproved, Level.advice),
        (probe(answer=None), Code.no_answer_in_time, Level.problem),
        (probe(answer=None, defect="unknown"), Code.store_unusable, Level.problem),
    ],
)
def test_each_way_to_fail_has_a_finding_with_a_fix(found: StoreProbe, code: Code, level: Level) -> None:
    (finding,) = store_findings([found])
    assert (finding.code, finding.level, finding.subject) == (code, level, "mine")
    assert finding.fix
    assert "bucket'" not in finding.text


def test_a_store_that_can_be_used_is_no_finding() -> None:
    assert list(store_findings([probe(), probe(writes=False, name="old")])) == []


def test_a_missing_package_is_told_with_its_pip_line() -> None:
    defect = 's3:// needs a missing package, boto3: pip install "temporal-envelope-codec[storage-s3]"'
    (finding,) = store_findings([probe(answer=None, defect=defect)])
    assert finding.fix == 'pip install "temporal-envelope-codec[storage-s3]"'


def test_one_name_for_two_stores_is_a_problem() -> None:
    (finding,) = store_findings([probe(), probe(writes=False)])
    assert finding.code is Code.configuration_invalid
    assert finding.text.startswith("storage and former_storage[0] have this one name")
