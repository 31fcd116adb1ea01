"""A client of boto3 for S3, behind the interface of the SDK's own S3 driver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session
from temporalio.contrib.aws.s3driver import S3StorageDriverClient

from envelope_codec._process import PerProcess, keep
from envelope_codec.aws.credentials import watch
from envelope_codec.aws.wirelog import WIRE_LOG
from envelope_codec.datastore.s3_error import MISSING, code_of
from envelope_codec.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_T = TypeVar("_T")

_THREADS = 32


class Boto3Client(S3StorageDriverClient):
    """A client of boto3 behind the client interface of the SDK's own S3 driver, which takes it as well.

    Args:
        client: an S3 client of boto3. Any number of threads may use it.
        renew: makes another client in a forked child. Without it the child goes on with the same one, and hangs if a
            thread of its parent held one of the locks in it.
    """

    def __init__(self, client: S3Client, renew: Callable[[], S3Client] | None = None) -> None:
        self._client = client
        self._renew = renew
        self._threads = PerProcess(self._start_threads)

    def _start_threads(self, inherited: ThreadPoolExecutor | None) -> ThreadPoolExecutor:
        if inherited is not None and self._renew is not None:
            keep(self._client)
            self._client = self._renew()
        elif inherited is not None:
            self._client.close()  # forgets connections, which are the parent's, and opens others
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="envelope-codec-s3")

    async def put_object(self, *, bucket: str, key: str, data: bytes) -> None:
        """Store an object, by PutObject: 5 GiB at most."""
        body = [data]
        del data  # or the thread holds a large one for a moment longer than this call lasts
        await self.run(lambda s3: s3.put_object(Bucket=bucket, Key=key, Body=body.pop()))

    async def object_exists(self, *, bucket: str, key: str) -> bool:
        """Return whether there is such an object."""
        try:
            await self.run(lambda s3: s3.head_object(Bucket=bucket, Key=key))
        except ClientError as error:
            if code_of(error) in MISSING:
                return False
            raise
        return True

    async def get_object(self, *, bucket: str, key: str) -> bytes:
        """Return the bytes of an object."""
        return await self.run(lambda s3: s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    async def run(self, work: Callable[[S3Client], _T]) -> _T:
        """Run ``work`` in a thread. botocore logs none of its requests and replies, nor those of the token service."""
        threads = self._threads.get()  # first, for it may change the client
        return await asyncio.get_running_loop().run_in_executor(threads, _run_quietly, work, self._client)

    def close(self) -> None:
        """Release the connections. Does not wait for calls under way."""
        self._threads.get().shutdown(wait=False, cancel_futures=True)
        self._client.close()


def make_client(options: Mapping[str, str]) -> S3Client:
    """Make a client of boto3 from the options of a store's URL. No network is asked.

    Raises:
        ConfigurationError: boto3 takes no such options, or the AWS configuration is wrong.
    """
    addressing: Any = {"addressing_style": options.get("addressing", "auto")}
    try:
        session = _make_session(options)
        watch(session, lambda: _make_session(options).get_credentials())
        config = Config(s3=addressing, **_checksum_settings(options))
        return boto3.Session(botocore_session=session).client("s3", endpoint_url=options.get("endpoint"), config=config)
    except BotoCoreError as error:
        raise ConfigurationError(f"storage: no client for s3:// can be made: {error}") from None
    except ValueError:  # whose text repeats the endpoint
        raise ConfigurationError("storage: no client for s3:// can be made: endpoint is not a URL") from None


def _run_quietly(work: Callable[[S3Client], _T], client: S3Client) -> _T:
    with WIRE_LOG.silenced():
        return work(client)


def _make_session(options: Mapping[str, str]) -> Session:
    session = Session(profile=options.get("profile"))
    if "region" in options:
        session.set_config_variable("region", options["region"])
    # The session's default, so that it also bounds the clients that botocore makes to fetch credentials.
    session.set_default_client_config(
        Config(
            connect_timeout=5,
            read_timeout=8,  # bounds how long a call that nobody waits for any more holds a thread
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=_THREADS,
            user_agent_extra="envelope-codec",
        )
    )
    return session


def _checksum_settings(options: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that keep boto3 from sending checksums to servers other than Amazon's, which may refuse them.

    Nothing is lost without them: the claim that Temporal keeps has a digest of the payload.
    """
    host = urlsplit(options.get("endpoint", "")).hostname or "amazonaws.com"
    is_amazon = f".{host}".endswith((".amazonaws.com", ".amazonaws.com.cn"))
    if is_amazon or not hasattr(Config(), "request_checksum_calculation"):
        return {}
    return {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
