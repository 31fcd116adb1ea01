"""A client of boto3, called from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from envelope_codec._process import PerProcess, keep
from envelope_codec.aws.access import OPTIONS as ACCESS_OPTIONS
from envelope_codec.aws.access import Access
from envelope_codec.aws.credentials import watch
from envelope_codec.aws.sessions import Sessions, describe
from envelope_codec.aws.wirelog import WIRE_LOG
from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_value

_T = TypeVar("_T")
_Client = TypeVar("_Client", bound=Any)

_THREADS = 32
_CONNECT_TIMEOUT = 5.0
_READ_TIMEOUT = 8.0  # bounds how long a call that nobody waits for any more holds a thread

OPTIONS = frozenset(("region", "endpoint")) | ACCESS_OPTIONS
"""Names of the options that a URL of every service of AWS may have."""


class AwsClient(Generic[_Client]):
    """A client of boto3 and the threads that call it.

    Args:
        client: of boto3. Any number of threads may use it.
        renew: makes another client in a forked child. Without it the child goes on with the same one, and hangs if a
            thread of its parent held one of the locks in it.
        name: of the threads.
    """

    def __init__(self, client: _Client, renew: Callable[[], _Client] | None, *, name: str) -> None:
        self._client = client
        self._renew = renew
        self._name = name
        self._threads = PerProcess(self._start_threads)

    def _start_threads(self, inherited: ThreadPoolExecutor | None) -> ThreadPoolExecutor:
        if inherited is not None and self._renew is not None:
            keep(self._client)
            self._client = self._renew()
        elif inherited is not None:
            self._client.close()  # forgets connections, which are the parent's, and opens others
        return ThreadPoolExecutor(_THREADS, thread_name_prefix=self._name)

    async def run(self, work: Callable[[_Client], _T]) -> _T:
        """Run ``work`` in a thread. botocore logs none of its requests and replies, nor those of the token service."""
        threads = self._threads.get()  # first, for it may change the client
        return await asyncio.get_running_loop().run_in_executor(threads, _run_quietly, work, self._client)

    def close(self) -> None:
        """Release the connections. Does not wait for calls under way."""
        self._threads.get().shutdown(wait=False, cancel_futures=True)
        self._client.close()


def parse_options(query: str, known: frozenset[str], scheme: str, setting: str) -> dict[str, str]:
    """Return the options of a URL.

    Args:
        query: of the URL.
        known: names of options.
        scheme: of the URL, for texts of errors.
        setting: that the URL was given in, for texts of errors.

    Raises:
        ConfigurationError: an option is not known, or has no value or two, or the endpoint holds credentials.
    """
    options: dict[str, str] = {}
    for option, value in parse_qsl(query, keep_blank_values=True):
        if option not in known or option in options or not value:
            names = ", ".join(sorted(known | {"name"} if setting == "storage" else known))
            raise ConfigurationError(
                f"{setting}: {scheme}:// has no option {show_value(option)}, or it is empty or there twice "
                f"(known: {names})"
            )
        options[option] = value
    if "@" in options.get("endpoint", "") or "@" in options.get("sts_endpoint", ""):
        raise ConfigurationError(
            f"{setting}: endpoint must not hold credentials (…@…); {scheme}:// takes signed requests"
        )
    return options


def make_boto3_client(service: str, options: Mapping[str, str], config: Config, setting: str) -> Any:
    """Make a client of boto3 from the options of a URL. No network is asked.

    Args:
        service: its name in boto3, which is also the scheme of the URL.
        options: those of `OPTIONS` count, and each may be missing.
        config: of this client, besides.
        setting: that the URL was given in, for texts of errors.

    Raises:
        ConfigurationError: boto3 takes no such options, or the AWS configuration is wrong.
    """
    where = f"{setting}: option"
    access = Access.of(options, where)
    sessions = Sessions(access, options.get("region"), _CONNECT_TIMEOUT, _READ_TIMEOUT, _THREADS)
    try:
        sessions.check(service, where)
        session = sessions.make()
        watch(session, sessions.find_credentials)
        made: Any = boto3.Session(botocore_session=session)
        return made.client(service, endpoint_url=options.get("endpoint"), config=config)
    except BotoCoreError as error:
        raise ConfigurationError(f"{setting}: no client for {service}:// can be made: {describe(error)}") from None
    except ValueError:  # whose text repeats the endpoint
        raise ConfigurationError(f"{setting}: no client for {service}:// can be made: endpoint is not a URL") from None


def _run_quietly(work: Callable[[_Client], _T], client: _Client) -> _T:
    with WIRE_LOG.silenced():
        return work(client)
