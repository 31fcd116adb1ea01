"""``envelope-codec doctor`` and ``storage check`` on real datastores: what may only be read is a good former store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli import main
from envelope_codec.cli.configuration import Configuration
from envelope_codec.cli.doctor.diagnosis import Diagnosis, Request, diagnose
from envelope_codec.cli.doctor.finding import Code, Level
from envelope_codec.cli.doctor.report import diagnosis_document
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.testing import FakeKms
from tests.support.harness_stores import KINDS, Stores, aws_environment, listed, opened
from tests.support.s3_replies import S3Replies

NEEDLES = ("127.0.0.1", "sesame", "nobody-here", "astray", "Payloads_", "text.db")
"""What is in the URLs of these tests, and must be in nothing that is printed."""


@pytest.fixture(autouse=True)
def credentials() -> Iterator[None]:
    with aws_environment():
        yield


async def examined(*, storage: str | None = None, former_storage: tuple[str, ...] = ()) -> Diagnosis:
    config = EnvelopeConfig(key=FakeKms("fakekms://k"), storage=storage, former_storage=former_storage)
    request, calls = Request(Configuration(config, "a test"), ("default",), True, None), Calls()
    with quiet_logs() as words:
        diagnosis = await diagnose(request, Deadline(60), calls, words)
    assert not calls.hang
    document = json.dumps(diagnosis_document(request, diagnosis))
    assert not [needle for needle in NEEDLES if needle in document]
    return diagnosis


def problems(diagnosis: Diagnosis) -> list[Code]:
    return [finding.code for finding in diagnosis.findings if finding.level is Level.problem]


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_of_store(kind: str, stores: Stores) -> None:
    harness = stores[kind]
    url = await harness.place()
    former = await examined(former_storage=(url,))
    assert problems(former) == []
    store = opened(url)
    assert await listed(store) == []
    await store.close()
    assert problems(await examined(storage=url)) == []
    for wrong, refusing in (await harness.refusing()).items():
        diagnosis = await examined(storage=refusing)
        assert problems(diagnosis) == [Code.store_refused], wrong
        assert diagnosis.findings[0].fix
        expected = [] if "read-only" in wrong else [Code.store_refused]
        assert problems(await examined(former_storage=(refusing,))) == expected, wrong


@pytest.mark.parametrize(
    ("code", "status", "problem"),
    [
        ("AccessDenied", 403, None),
        ("InvalidAccessKeyId", 403, Code.store_unavailable),
        ("NoSuchBucket", 404, Code.store_refused),
    ],
)
async def test_s3_does_not_tell_everybody_that_an_object_is_missing(
    code: str, status: int, problem: Code | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with S3Replies().running() as replies:
        replies.status, replies.code = status, code
        url = f"s3://astray/payloads?endpoint={replies.endpoint}&region=us-east-1&addressing=path"
        written, read = await examined(storage=url), await examined(former_storage=(url,))
        assert problems(written) == [problem or Code.store_refused]
        assert problems(read) == ([problem] if problem else [])
        assert written.findings[0].words == f"S3 put failed: {code}"
        (finding,) = [one for one in read.findings if one.subject == "envelope-s3"]
        assert (finding.code, finding.words) == (problem or Code.reading_unproved, f"S3 get failed: {code}")

        create_key_file(tmp_path / "key.json")
        file = tmp_path / "envelope.toml"
        file.write_text(f'key = "{key_uri(tmp_path / "key.json")}"\nformer_storage = ["{url}"]\n')
        check = asyncio.to_thread(check_status, file)
        assert await check == (1 if problem else 0)
        assert ("can't be told" in capsys.readouterr().out) is (problem is None)


def check_status(file: Path) -> int:
    with pytest.raises(SystemExit) as left:
        main(["storage", "check", "--config", str(file)])
    return int(left.value.code or 0)
