"""What to do about an error of a datastore."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from envelope_codec import StoreRefused
from envelope_codec.aws.meanings import CREDENTIALS
from envelope_codec.cli.store_hint import STORE_HINTS, store_hint
from envelope_codec.datastore import (
    azblob_error,
    folder,
    gcs_error,
    mongodb_error,
    redis_error,
    s3_error,
    sql_engine,
    sql_meanings,
)
from envelope_codec.storage import driver

_KINDS = {"folder": "files"}


def reasons() -> dict[str, set[str]]:
    """Every text with which a store of this project refuses or gives no answer, by its module."""
    found: dict[str, set[str]] = {}
    rooms = (Path(module.__file__ or "").parent for module in (driver, folder))
    for path in (path for room in rooms for path in room.glob("*.py")):
        if path.stem not in ("driver", "pool", "loop_store"):
            text = re.sub(r"\s+", " ", path.read_text("utf-8"))
            raised = re.findall(r'Store(?:Refused|Unavailable)\( ?"([^"]*)"', text)
            if raised:
                found.setdefault(_KINDS.get(path.stem, path.stem.partition("_")[0]), set()).update(raised)
    found["files"] |= set(folder._REFUSALS.values())
    found["redis"] |= {told("put").reason for _, _, told in redis_error._MEANINGS}
    found["redis"] |= {told.value for told in redis_error.Told}
    found["mongodb"] |= {*mongodb_error._REASONS.values(), mongodb_error._REFUSED}
    found["sql"] = {meaning.reason for meaning in sql_meanings.MEANINGS}
    advised = {*s3_error._ADVICE.values(), "it is full", "the log has its code"}
    advised |= {s3_error._OR_OWNER, s3_error._KEY_DENIED, s3_error._KEY_UNUSABLE}
    found["s3"] |= {f"the bucket refused: {one}" for one in advised}
    found["s3"] |= {s3_error._CREDENTIALS, s3_error._NOT_S3, s3_error._NO_ANSWER}
    found["s3"] |= {one.text for one in CREDENTIALS}
    of_both = found.pop("objects")
    found["azblob"] = {f"the container refused: {one}" for one in azblob_error.REFUSALS} | set(azblob_error.OUTAGES)
    found["gcs"] = {f"the bucket refused: {one}" for one in gcs_error.REFUSALS} | set(gcs_error.OUTAGES)
    found["azblob"] |= of_both
    found["gcs"] |= of_both
    return found


SCHEMES = {
    "azblob": ["azblob"],
    "gcs": ["gs"],
    "s3": ["s3"],
    "sql": list(sql_engine._DRIVERS),
    "redis": ["redis", "rediss"],
    "mongodb": ["mongodb"],
    "files": ["file"],
}


def test_there_is_a_hint_for_every_error_of_every_store_and_no_other() -> None:
    known = reasons()
    assert set(known) == set(SCHEMES)
    assert set(STORE_HINTS) == {scheme for schemes in SCHEMES.values() for scheme in schemes}
    for module, schemes in SCHEMES.items():
        for scheme in schemes:
            assert set(STORE_HINTS[scheme]) == known[module]
            for reason in known[module]:
                for writes in (True, False):
                    hint = store_hint(scheme, StoreRefused(reason), writes=writes)
                    assert hint
                    assert not set("{}") & set(hint)


@pytest.mark.parametrize(
    ("scheme", "reason", "writes", "said"),
    [
        ("s3", "the bucket refused: permission is missing", True, "allow s3:PutObject and s3:GetObject for what"),
        ("s3", "the bucket refused: permission is missing", False, "allow s3:GetObject for what"),
        ("s3", "S3 did not take the credentials: expired, unknown or wrongly signed", True, "AWS_ACCESS_KEY_ID"),
        ("s3", "no AWS credentials could be had: the token service refused", True, "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ("s3", "the bucket refused: its server does not take the checksums that boto3 sends", True, "endpoint"),
        ("azblob", "the container refused: permission is missing", False, "containers/blobs/read on the container"),
        ("gs", "the bucket refused: permission is missing", True, "storage.objects.create and storage.objects.get"),
        ("gs", "the bucket refused: permission is missing", False, "grant storage.objects.get on the bucket"),
        ("mysql", "permission on the table or the database is missing", True, "grant SELECT and INSERT on the table"),
        ("mysql", "permission on the table or the database is missing", False, "grant SELECT on the table"),
        ("theirs", "whatever", True, "these credentials may use it"),
    ],
)
def test_a_hint_names_what_is_needed(scheme: str, reason: str, writes: bool, said: str) -> None:
    assert said in store_hint(scheme, StoreRefused(reason), writes=writes)
