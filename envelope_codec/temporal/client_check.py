"""Checks that a client encrypts, after every plugin has changed it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from temporalio.client import Client, ClientConfig, Interceptor, OutboundInterceptor
from temporalio.common import HeaderCodecBehavior

from envelope_codec.errors import ConfigurationError
from envelope_codec.keys.keyring import Keyring
from envelope_codec.temporal.chain import find_codec
from envelope_codec.temporal.client_calls import find_client
from envelope_codec.temporal.client_payloads import ClientPayloads
from envelope_codec.temporal.failure_converter import hides_failures
from envelope_codec.temporal.failure_encoding import seals_failures


class Guard(Interceptor):
    """Checks a client when it is made, and leaves no trace in its calls.

    Args:
        keyring: the keyring of the plugin that put it there.
        verify: raises if the client does not encrypt.
    """

    def __init__(self, keyring: Keyring, verify: Callable[[Client], None]) -> None:
        self.keyring = keyring
        self._verify = verify

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Check the client that ``next`` leads to, and put nothing before ``next``."""
        client = find_client(next)
        if client is not None:
            self._verify(client)
        return next


def has_guard(interceptors: Iterable[Interceptor], keyring: Keyring) -> bool:
    """Whether the plugin with ``keyring`` has put a `Guard` among ``interceptors``."""
    return any(isinstance(each, Guard) and each.keyring is keyring for each in interceptors)


def check_codec(client: Client, keyring: Keyring) -> None:
    """Raise `ConfigurationError` if ``client`` has no codec with ``keyring``."""
    codec = find_codec(client.data_converter.payload_codec)
    if codec is None or codec.keyring is not keyring:
        raise ConfigurationError(
            "the client does not encrypt: give EnvelopePlugin to Client.connect(…, plugins=[…]), last in the list, "
            "not to the worker"
        )


def check_failures(client: Client) -> None:
    """Raise `ConfigurationError` if ``client`` would leave messages and stack traces of failures in clear."""
    failures = client.data_converter.failure_converter_class
    if not hides_failures(failures) or not seals_failures(client.data_converter):
        name = getattr(failures, "__qualname__", type(failures).__qualname__)
        raise ConfigurationError(
            f"the client's failure converter {name} leaves messages and stack traces in clear: "
            "another plugin set it after EnvelopePlugin, which must be the last in the list"
        )


def check_headers(client: Client) -> None:
    """Raise `ConfigurationError` if ``client`` would leave headers in clear."""
    if client.config(active_config=True).get("header_codec_behavior") != HeaderCodecBehavior.CODEC:
        raise ConfigurationError(
            "the client leaves headers in clear: another plugin set header_codec_behavior after EnvelopePlugin, "
            "which must be the last in the list; or set headers=False"
        )


def refuse_headers_of_others(config: ClientConfig) -> None:
    """Raise `ConfigurationError` if our plugin would make the user's codec encode headers that it leaves alone today.

    The SDK has one setting for reading and writing headers. So a plugin that reads sealed headers and seals nothing
    would have the user's codec encode them.
    """
    codec = config["data_converter"].payload_codec
    if codec is None or find_codec(codec) is not None:
        return
    if config["header_codec_behavior"] != HeaderCodecBehavior.CODEC:
        raise ConfigurationError(
            "sealing=False would put headers through the data converter's own codec, where clients without the "
            "plugin can't read them: set headers=False, or header_codec_behavior=CODEC if those clients have it too"
        )


def check_interceptors(client: Client, keyring: Keyring) -> None:
    """Raise `ConfigurationError` if ``client`` would send payloads that it is handed ready-made as they are."""
    interceptors = client.config(active_config=True)["interceptors"]
    if not any(isinstance(each, ClientPayloads) and each.keyring is keyring for each in interceptors):
        raise ConfigurationError(
            "the client leaves payloads that it is handed ready-made in clear: another plugin removed interceptors "
            "that EnvelopePlugin has set, which must be the last in the list"
        )
