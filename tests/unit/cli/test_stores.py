"""The datastores that a configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.stores import (
    check_store,
    choose_store,
    list_stores,
    open_store,
    proves_nothing,
    stores_by_setting,
)
from envelope_codec.datastore.s3_error import translate
from envelope_codec.errors import ConfigurationError, EnvelopeError, PayloadMissing, StoreRefused, StoreUnavailable
from envelope_codec.store import TooLarge, get_within
from envelope_codec.testing import FakeKms


def configured(folder: Path, **settings: Any) -> EnvelopeConfig:
    former = [f"file://{folder}/old?name=old", f"file://{folder}/older?name=older"]
    given: dict[str, Any] = {"storage": f"file://{folder}/new", "former_storage": former, **settings}
    return EnvelopeConfig(key=FakeKms(), **given)


def test_stores_are_named_by_their_settings(tmp_path: Path) -> None:
    config = configured(tmp_path)
    assert {setting: url.name for setting, url in stores_by_setting(config).items()} == {
        "storage": "envelope-file",
        "former_storage[0]": "old",
        "former_storage[1]": "older",
    }
    assert [url.name for url in list_stores(config)] == ["envelope-file", "old", "older"]
    assert stores_by_setting(EnvelopeConfig(key=FakeKms())) == {}


def test_a_store_is_chosen_by_name_else_the_one_that_is_written_to(tmp_path: Path) -> None:
    config = configured(tmp_path)
    assert choose_store(config, None).name == "envelope-file"
    assert choose_store(config, "older").name == "older"
    with pytest.raises(ConfigurationError, match=r"no store is called 'x' \(configured: envelope-file, old, older\)"):
        choose_store(config, "x")
    with pytest.raises(ConfigurationError, match="name one of former_storage with --store"):
        choose_store(configured(tmp_path, storage=None), None)


async def test_the_size_that_may_be_read_reaches_the_store(tmp_path: Path) -> None:
    async with open_store(choose_store(configured(tmp_path), None)) as store:
        (tmp_path / "new").mkdir()
        await store.put("0" * 32, b"some bytes")
        assert hasattr(store, "get_within")
        assert await get_within(store, "0" * 32, 10) == b"some bytes"
        with pytest.raises(TooLarge):
            await get_within(store, "0" * 32, 9)


async def test_checking_writes_only_where_it_is_to(tmp_path: Path) -> None:
    for writes in (False, True):
        async with open_store(choose_store(configured(tmp_path), None)) as store:
            (tmp_path / "new").mkdir(exist_ok=True)
            await check_store(store, writes=writes)
            assert bool(list((tmp_path / "new").iterdir())) is writes
            with pytest.raises(PayloadMissing):
                await store.get("0" * 32)


S3_DENIES = translate(ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject"), "get")


@pytest.mark.parametrize(
    ("error", "writes", "proves"),
    [
        (S3_DENIES, False, False),
        (S3_DENIES, True, True),
        (StoreRefused("permission is missing (S3 says so of a missing object, too)"), False, True),
        (StoreRefused("permission is missing"), False, True),
        (StoreUnavailable("no answer"), False, True),
    ],
)
def test_what_s3_says_to_those_who_may_not_list_proves_nothing(
    error: EnvelopeError, writes: bool, proves: bool
) -> None:
    assert proves_nothing(error, writes=writes) is not proves
