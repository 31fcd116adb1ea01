"""What MongoDB answers, and the errors that its answers become."""

from __future__ import annotations

import pytest
from pymongo.errors import AutoReconnect, OperationFailure, WriteConcernError

from envelope_codec.datastore.mongodb_error import translate
from envelope_codec.errors import StoreRefused, StoreUnavailable

REFUSED, OUTAGE = StoreRefused, StoreUnavailable


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (18, REFUSED, "login"),
        (8000, REFUSED, "login"),
        (13, REFUSED, "permission"),
        (26, REFUSED, "name"),
        (73, REFUSED, "name"),
        (14031, REFUSED, "full"),
        (121, REFUSED, "rule"),
        (59, REFUSED, "too old"),
        (9999, REFUSED, "its log"),
        (91, OUTAGE, "did not answer"),
        (10107, OUTAGE, "did not answer"),
        (13435, OUTAGE, "did not answer"),
    ],
)
def test_each_code(code: int, kind: type[Exception], said: str) -> None:
    told = translate(OperationFailure("hush", code), "put")
    assert type(told) is kind
    assert said in str(told)
    assert "hush" not in str(told)


def test_no_answer() -> None:
    for error in (AutoReconnect("hush"), WriteConcernError("hush", 64)):
        assert type(translate(error, "put")) is OUTAGE
