"""Which compression a connection is made with, and what is told of it. No server is asked."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.plugin import SimplePlugin
from temporalio.service import ConnectConfig, GrpcCompression, ServiceClient

from envelope_codec import ConfigurationError, EnvelopeConfig, EnvelopePlugin
from envelope_codec.testing import FakeKms

GZIP, NONE = GrpcCompression.GZIP, GrpcCompression.NONE


class Later(GrpcCompression):
    """A mode that a later SDK may have."""

    def _to_bridge_config(self) -> str:
        return "gzip"


LATER = Later()


class Setting(SimplePlugin):
    """Sets the compression, and holds what it passes on."""

    def __init__(self, compression: GrpcCompression) -> None:
        super().__init__("setting")
        self._compression = compression
        self.passed: ConnectConfig | None = None

    async def connect_service_client(
        self, config: ConnectConfig, next: Callable[[ConnectConfig], Awaitable[ServiceClient]]
    ) -> ServiceClient:
        config.grpc_compression = self._compression
        self.passed = config
        return await next(config)


class Sharing(SimplePlugin):
    """Connects nothing: all its clients have one service client."""

    def __init__(self, shared: ServiceClient) -> None:
        super().__init__("sharing")
        self._shared = shared

    async def connect_service_client(
        self, config: ConnectConfig, next: Callable[[ConnectConfig], Awaitable[ServiceClient]]
    ) -> ServiceClient:
        return self._shared


async def connect(*plugins: Any, **settings: Any) -> Client:
    return await Client.connect("127.0.0.1:1", lazy=True, plugins=plugins, **settings)


def used(client: Client) -> GrpcCompression:
    return client.service_client.config.grpc_compression


@pytest.fixture(autouse=True)
def everything_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "envelope_codec")


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and beginning of what was logged of compression."""
    return [
        (record.levelname, record.getMessage().partition(",")[0])
        for record in caplog.records
        if "gRPC messages" in record.getMessage()
    ]


OFF = ("INFO", "gRPC messages are sent without gzip")
STAYS_OFF = "gRPC messages are sent without gzip: the client"
STAYS_ON = "gRPC messages are sent with gzip"


@pytest.mark.parametrize(
    ("setting", "given", "expected", "log"),
    [
        (None, None, NONE, [OFF]),
        (None, GZIP, NONE, [OFF]),
        (None, NONE, NONE, []),
        (None, LATER, LATER, []),
        ("none", None, NONE, [OFF]),
        ("none", NONE, NONE, []),
        ("gzip", None, GZIP, []),
        ("gzip", GZIP, GZIP, []),
        ("gzip", NONE, NONE, [("WARNING", STAYS_OFF)]),
        ("gzip", LATER, LATER, []),
        ("client", None, GZIP, []),
        ("client", NONE, NONE, []),
        ("client", LATER, LATER, []),
    ],
)
async def test_gzip_alone_is_changed(
    setting: Any, given: GrpcCompression | None, expected: Any, log: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {} if setting is None else {"grpc_compression": setting}
    with EnvelopePlugin(FakeKms(), **settings) as plugin:
        client = await connect(plugin, **({} if given is None else {"grpc_compression": given}))
        assert used(client) is expected
        assert told(caplog) == log
        await connect(plugin, **({} if given is None else {"grpc_compression": given}))
        assert told(caplog) == log, "said once"


@pytest.mark.parametrize(("setting", "given"), [("none", GZIP), ("gzip", NONE)])
async def test_the_line_tells_which_setting_ends_it(
    setting: Any, given: GrpcCompression, caplog: pytest.LogCaptureFixture
) -> None:
    with EnvelopePlugin(FakeKms(), grpc_compression=setting) as plugin:
        await connect(plugin, grpc_compression=given)
    [line] = [record.getMessage() for record in caplog.records if "gRPC messages" in record.getMessage()]
    assert line.endswith("to keep what the client is given, without this line, set grpc_compression='client'")


@pytest.mark.parametrize("setting", ["none", "gzip", "client"])
@pytest.mark.parametrize("given", [GZIP, NONE])
async def test_a_plugin_that_does_not_seal_changes_nothing(
    setting: Any, given: GrpcCompression, caplog: pytest.LogCaptureFixture
) -> None:
    with EnvelopePlugin(FakeKms(), sealing=False, grpc_compression=setting) as plugin:
        assert used(await connect(plugin, grpc_compression=given)) is given
    assert told(caplog) == []


def test_another_word_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="grpc_compression: Input should be 'none', 'gzip' or 'client'"):
        EnvelopeConfig(key=FakeKms(), grpc_compression="zstd")  # type: ignore[arg-type]


def test_it_is_set_in_the_environment_as_well() -> None:
    environment = {"ENVELOPE_CODEC_KEY": "local:///key", "ENVELOPE_CODEC_GRPC_COMPRESSION": "gzip"}
    assert EnvelopeConfig.from_env(environment).grpc_compression == "gzip"


async def test_what_a_plugin_before_ours_sets_counts_as_what_the_client_was_given(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        gzip = Setting(GZIP)
        assert used(await connect(gzip, plugin, grpc_compression=NONE)) is NONE
        assert gzip.passed is not None
        assert gzip.passed.grpc_compression is GZIP, "what it holds stays as it is"
    caplog.clear()
    with EnvelopePlugin(FakeKms(), grpc_compression="gzip") as plugin:
        assert used(await connect(Setting(NONE), plugin)) is NONE
    assert told(caplog) == [("WARNING", STAYS_OFF)]


async def test_a_plugin_after_ours_has_the_last_word_and_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        assert used(await connect(plugin, Setting(GZIP))) is GZIP
    assert told(caplog) == [("INFO", STAYS_ON)]


@pytest.mark.parametrize(("settings", "level"), [({}, "INFO"), ({"grpc_compression": "none"}, "WARNING")])
async def test_a_service_client_that_others_made_is_left_alone_and_it_is_told(
    settings: Any, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    shared = (await connect()).service_client
    with EnvelopePlugin(FakeKms(), **settings) as plugin:
        for client in (
            Client(shared, plugins=[plugin]),
            await connect(Sharing(shared), plugin),
            await connect(plugin, Sharing(shared)),
        ):
            assert client.service_client is shared
            assert used(client) is GZIP
        assert told(caplog) == [(level, STAYS_ON)]
    caplog.clear()
    with EnvelopePlugin(FakeKms(), grpc_compression="client") as plugin:
        Client(shared, plugins=[plugin])
    assert told(caplog) == []


async def test_clients_made_of_a_client_share_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        client = await connect(plugin)
        assert used(Client(**client.config())) is NONE
        assert used(Client(client.service_client)) is NONE
    assert told(caplog) == [OFF]


async def test_one_plugin_twice_is_as_once(caplog: pytest.LogCaptureFixture) -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        assert used(await connect(plugin, plugin)) is NONE
    assert told(caplog) == [OFF]


class Bare(ServiceClient):
    """A service client of somebody's own, which has no configuration."""

    def __init__(self) -> None:
        pass

    worker_service_client = property(lambda self: self)
    update_rpc_metadata = update_api_key = lambda self, new: None  # type: ignore[assignment]

    async def _rpc_call(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError


async def test_a_service_client_without_a_configuration_will_do(caplog: pytest.LogCaptureFixture) -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        Client(Bare(), plugins=[plugin])
    assert told(caplog) == []
