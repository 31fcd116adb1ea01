"""Each check finds the one thing that another plugin has undone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from temporalio.client import Client, OutboundInterceptor
from temporalio.common import HeaderCodecBehavior
from temporalio.converter import DataConverter, DefaultFailureConverter, PayloadCodec

from envelope_codec import ConfigurationError, EnvelopePlugin
from envelope_codec.keys.keyring import Keyring
from envelope_codec.temporal.client_check import (
    Guard,
    check_codec,
    check_failures,
    check_headers,
    check_interceptors,
    refuse_headers_of_others,
)
from envelope_codec.testing import FakeKms


async def changed(plugin: EnvelopePlugin, **changes: Any) -> Client:
    """A client of ``plugin`` with other settings, which nothing has checked."""
    config = (await Client.connect("127.0.0.1:1", lazy=True, plugins=[plugin])).config(active_config=True)
    interceptors = [each for each in config["interceptors"] if not isinstance(each, Guard)]
    return Client(**{**config, "plugins": [], "interceptors": interceptors, **changes})


def all_checks(client: Client, keyring: Keyring) -> list[str]:
    """The names of the checks that ``client`` does not pass."""
    checks: dict[str, Callable[[], None]] = {
        "codec": lambda: check_codec(client, keyring),
        "failures": lambda: check_failures(client),
        "headers": lambda: check_headers(client),
        "interceptors": lambda: check_interceptors(client, keyring),
    }
    failed = []
    for name, check in checks.items():
        try:
            check()
        except ConfigurationError:
            failed.append(name)
    return failed


async def test_a_client_that_nothing_was_taken_from_passes() -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        assert all_checks(await changed(plugin), plugin.keyring) == []


async def test_each_check_finds_its_own() -> None:
    class Leaving(DataConverter):
        async def encode_failure(self, exception: Any, failure: Any) -> None:
            failure.message = str(exception)

    with EnvelopePlugin(FakeKms()) as plugin, EnvelopePlugin(FakeKms()) as other:
        ours = (await changed(plugin)).data_converter
        clear = dataclasses.replace(ours, failure_converter_class=DefaultFailureConverter)
        leaving = Leaving(payload_codec=ours.payload_codec, failure_converter_class=ours.failure_converter_class)
        for changes, failed in (
            ({"data_converter": clear}, ["failures"]),
            ({"data_converter": leaving}, ["failures"]),
            ({"data_converter": DataConverter.default}, ["codec", "failures"]),
            ({"header_codec_behavior": HeaderCodecBehavior.NO_CODEC}, ["headers"]),
            ({"header_codec_behavior": HeaderCodecBehavior.WORKFLOW_ONLY_CODEC}, ["headers"]),
            ({"interceptors": []}, ["interceptors"]),
        ):
            assert all_checks(await changed(plugin, **changes), plugin.keyring) == failed
        assert all_checks(await changed(other), plugin.keyring) == ["codec", "interceptors"]


async def test_the_guard_checks_the_client_once_and_stands_before_no_call() -> None:
    keyring: Any = object()
    checked: list[Client] = []
    guard = Guard(keyring, checked.append)
    client = await Client.connect("127.0.0.1:1", lazy=True, interceptors=[guard])
    assert checked == [client]
    behind = OutboundInterceptor(None)  # type: ignore[arg-type]
    assert guard.intercept_client(behind) is behind
    assert checked == [client], "there was no client behind it"


@pytest.mark.parametrize("behavior", [HeaderCodecBehavior.NO_CODEC, HeaderCodecBehavior.WORKFLOW_ONLY_CODEC])
async def test_headers_are_not_given_to_a_codec_that_did_not_get_them(behavior: Any) -> None:
    with EnvelopePlugin(FakeKms(), headers=False) as plugin:
        ours = (await changed(plugin)).config(active_config=True)
    config = (await Client.connect("127.0.0.1:1", lazy=True)).config(active_config=True)
    config["header_codec_behavior"] = behavior
    refuse_headers_of_others(config)  # there is no codec
    refuse_headers_of_others({**config, "data_converter": ours["data_converter"]})
    theirs = dataclasses.replace(DataConverter.default, payload_codec=Theirs())
    config["data_converter"] = theirs
    with pytest.raises(ConfigurationError, match="set headers=False"):
        refuse_headers_of_others(config)
    config["header_codec_behavior"] = HeaderCodecBehavior.CODEC
    refuse_headers_of_others(config)


class Theirs(PayloadCodec):
    """A payload codec of the user's."""

    async def encode(self, payloads: Any) -> Any:
        return payloads

    async def decode(self, payloads: Any) -> Any:
        return payloads
