"""The work on slices, as activities: what the workflow says is not enough to wrap with a key of one's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from envelope_codec import EnvelopeConfig, __version__
from envelope_codec.cli import main
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.cli.rewrap import work as work_module
from envelope_codec.cli.rewrap.slice import Done
from envelope_codec.cli.rewrap.work import Request, RewrapWork, SliceWork, digest_of
from envelope_codec.envelope import Purpose
from envelope_codec.keystore_row import parse_row
from envelope_codec.keystores.files import FileKeystore
from envelope_codec.kms import master_key
from tests.support.rewrapped_rows import row_by


class Place:
    """A keystore of files with rows under an old key, and a worker."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder = folder
        (folder / "keystore").mkdir()
        for name in ("old", "new", "other"):
            create_key_file(folder / f"{name}.json")
        self.old, self.new, self.other = (key_uri(folder / f"{name}.json") for name in ("old", "new", "other"))
        self.url = f"file://{folder}/keystore"
        self.keystore = FileKeystore(self.url)
        self.made = [row_by(master_key(self.old)) for _ in range(rows)]
        self.settings = EnvelopeConfig(key=self.new, decrypt_keys=[self.old], keystore=self.url)
        self.work = RewrapWork(self.settings, self.keystore, folder / "backup")
        self.environment = ActivityEnvironment()

    async def keep(self) -> None:
        for row in self.made:
            await self.keystore.put(row.key, row.serialize(), None)

    def request(self, **more: Any) -> Request:
        return replace(Request(__version__, self.old, self.new, [], "", 2, 2, 8, 1e6, 30), **more)

    async def do(self, request: Request, *numbers: int) -> Done:
        done = Done()
        for number in numbers or range(request.slices):
            done.add((await self.environment.run(self.work.work, SliceWork(request, number))).counts())
        return done

    async def recipients(self) -> list[int]:
        return [len(parse_row(kept.key, kept.data).verified) async for kept in self.keystore.rows()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, 12)
    yield made
    made.work.close()


async def test_each_row_of_a_slice_gets_the_new_key(place: Place) -> None:
    await place.keep()
    first = await place.do(place.request(), 0)
    assert 0 < first.rows < 12
    both = await place.do(place.request())
    assert both.outcomes == {"there": first.rows, "added": 12 - first.rows}
    assert await place.recipients() == [2] * 12


async def test_it_goes_on_after_the_rows_that_the_last_worker_told_of(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_module, "CHUNK", 5)
    await place.keep()
    told = list[str]()
    place.environment.on_heartbeat = lambda *details: told.append(details[0])
    request = place.request(slices=1)
    await place.do(request)
    chunks = list(dict.fromkeys(filter(None, told)))
    assert [json.loads(text)["outcomes"] for text in chunks] == [{"added": number} for number in (5, 10, 12)]
    place.environment.info = replace(place.environment.info, heartbeat_details=[chunks[1]])
    assert (await place.do(request)).outcomes == {"added": 10, "there": 2}, "the last two again, which changes nothing"
    place.environment.info = replace(place.environment.info, heartbeat_details=["no words of a worker's"])
    assert (await place.do(request)).outcomes == {"there": 12}


async def test_a_key_that_is_not_configured_gets_no_secret(place: Place) -> None:
    await place.keep()
    for request in (place.request(new=place.other), place.request(old=place.other)):
        with pytest.raises(ApplicationError, match="not in a worker's configuration") as raised:
            await place.do(request)
        assert raised.value.non_retryable
    assert await place.recipients() == [1] * 12


async def test_another_version_is_told(place: Place) -> None:
    with pytest.raises(ApplicationError, match="run one version"):
        await place.do(place.request(version="9.9"))


async def test_only_rows_of_the_namespaces_that_were_asked_for(place: Place) -> None:
    await place.keep()
    assert (await place.do(place.request(namespaces=["dev"]))).rows == 0


async def test_the_second_pass_needs_the_command_s_own_backup(place: Place) -> None:
    await place.keep()
    await place.do(place.request())
    (place.folder / "envelope.toml").write_text(
        f'key = "{place.new}"\ndecrypt_keys = ["{place.old}"]\nkeystore = "{place.url}"\n'
    )
    backup = place.folder / "backup"

    def export() -> None:
        with pytest.raises(SystemExit) as left:
            main(["keystore", "export", str(backup), "--config", str(place.folder / "envelope.toml")])
        assert not left.value.code

    await asyncio.to_thread(export)
    with pytest.raises(ApplicationError, match="another backup"):
        await place.do(place.request(backup="0" * 64))
    none = RewrapWork(place.settings, place.keystore, None)
    with pytest.raises(ApplicationError, match="give all of them --backup"):
        await place.environment.run(none.work, SliceWork(place.request(backup="0" * 64), 0))
    none.close()
    done = await place.do(place.request(backup=digest_of(backup)))
    assert done.outcomes == {"dropped": 12}
    assert await place.recipients() == [1] * 12
    with pytest.raises(ApplicationError, match="another backup"):
        await place.do(place.request(backup="0" * 64))
    backup.unlink()
    await asyncio.to_thread(export)
    assert (await place.do(place.request(backup=digest_of(backup)))).outcomes == {}, "a later command's own"


async def test_a_key_that_can_t_be_used_ends_it(place: Place) -> None:
    await place.keep()
    (place.folder / "new.json").write_text("{}")
    with pytest.raises(ApplicationError, match="can't be used") as raised:
        await place.do(place.request())
    assert raised.value.non_retryable
    assert await place.recipients() == [1] * 12


async def test_shared_wrapping_keys_are_left_only_while_they_may_be_adopted(place: Place) -> None:
    place.made = [row_by(master_key(place.old), purpose=Purpose.SHARED_WRAPPING_KEY)]
    await place.keep()
    created = place.made[0].created
    for age, outcomes in ((place.settings.max_age - 1, {}), (place.settings.max_age + 1, {"added": 1})):
        work = RewrapWork(place.settings, place.keystore, None, now=partial(float, created + age))
        done = [await place.environment.run(work.work, SliceWork(place.request(), number)) for number in (0, 1)]
        assert dict(done[0].outcomes) | dict(done[1].outcomes) == outcomes
        work.close()


async def test_rows_that_fail_are_counted_with_their_reason(place: Place) -> None:
    place.made = [*place.made[:2], *(replace(row, id=bytes(32)) for row in place.made[2:3])]
    await place.keep()
    done = await place.do(place.request())
    [(reason, rows, key, _)] = done.failures
    assert (done.outcomes, rows, key) == ({"added": 2}, 1, place.made[2].key.hex())
    assert reason
