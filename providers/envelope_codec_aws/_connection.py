"""The boto3 KMS client of one process: its credentials, and when it is built."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, Credentials, DeferredRefreshableCredentials
from botocore.exceptions import NoCredentialsError
from botocore.session import Session

from envelope_codec.aws_credentials import CredentialsUnavailable, WatchedCredentials, watch
from envelope_codec.process import in_child, keep, renew_after_fork
from envelope_codec_aws._errors import Closed
from envelope_codec_aws._options import ClientOptions

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

_log = logging.getLogger("envelope_codec.aws")

_CONNECT_TIMEOUT = 2.0
_READ_TIMEOUT = 5.0
_POOL_CONNECTIONS = 32
_SESSION_NAME = "envelope-codec"


class ProcessClient:
    """One KMS client a process, built at its first use; a forked child builds its own.

    Thread-safe. After `close`, here or in the parent before the fork, none is built any more.
    """

    _lock: threading.Lock
    _client: KMSClient | None
    _credentials: WatchedCredentials | None

    def __init__(self, region: str, options: ClientOptions) -> None:
        self._region = region
        self._options = options
        self._closed = False
        renew_after_fork(self, _lock=threading.Lock)
        self._forget()
        in_child(self, ProcessClient._leave)

    @contextmanager
    def in_use(self) -> Iterator[KMSClient]:
        """The client, for one call, with credentials at hand; raises what `get` raises."""
        client = self.get()
        if self._credentials is not None:
            # Before the call, so that none is made if `close` comes while they are waited for.
            self._credentials.get_frozen_credentials()
        if self._closed:
            raise Closed
        try:
            yield client
        finally:
            if self._closed:
                # The call may have connected after `close` had ended the connections.
                client.close()

    def get(self) -> KMSClient:
        """Asks no network. Raises `CredentialsUnavailable` if the AWS configuration can't be used, and `Closed`."""
        client = self._client
        if client is not None:
            return client
        with self._lock:
            if self._closed:
                raise Closed
            if self._client is not None:
                return self._client
            try:
                self._client, self._credentials = _build(self._region, self._options)
            except Exception as error:
                failure = CredentialsUnavailable.of(error)
            else:
                if self._closed:
                    self._drop()
                    raise Closed
                return self._client
        raise failure

    def close(self) -> None:
        """Final. Without the lock, which a thread may hold while it builds a client: it sees the flag then."""
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _leave(self) -> None:
        """In a forked child: the sockets are the parent's."""
        keep(self._client)
        self._forget()

    def _forget(self) -> None:
        self._client = None
        self._credentials = None


def _build(region: str, options: ClientOptions) -> tuple[KMSClient, WatchedCredentials]:
    session = _session(region, options)
    credentials = watch(session, partial(_found_credentials, region, options))
    client = boto3.Session(botocore_session=session).client("kms", endpoint_url=options.endpoint)
    return client, credentials


def _found_credentials(region: str, options: ClientOptions) -> Credentials | DeferredRefreshableCredentials:
    """What a session of its own finds: it reads the configuration as it is now, and not what is watched."""
    session = _session(region, options)
    credentials = session.get_credentials()
    if credentials is None:
        _tell_missing()
        raise NoCredentialsError
    return credentials if options.role is None else _assumed_role(session, credentials, region, options)


def _assumed_role(
    source: Session, credentials: Credentials, region: str, options: ClientOptions
) -> DeferredRefreshableCredentials:
    """Credentials of a role, which botocore fetches at their first use and again before they expire."""
    arguments = {"RoleSessionName": options.role_session_name or _SESSION_NAME}
    if options.external_id is not None:
        arguments["ExternalId"] = options.external_id
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=partial(source.create_client, region_name=region, endpoint_url=options.sts_endpoint),
        source_credentials=credentials,
        role_arn=str(options.role),
        extra_args=arguments,
    )
    return DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method="assume-role")


def _session(region: str, options: ClientOptions) -> Session:
    session = Session(profile=options.profile)
    session.set_config_variable("region", region)
    # The session's default, so that it also bounds the clients that botocore makes to fetch credentials.
    session.set_default_client_config(
        Config(
            connect_timeout=options.connect_timeout or _CONNECT_TIMEOUT,
            read_timeout=options.read_timeout or _READ_TIMEOUT,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=_POOL_CONNECTIONS,
            user_agent_extra="envelope-codec",
        )
    )
    return session


@cache
def _tell_missing() -> None:
    """Once a process: each later try ends the same way."""
    _log.warning(
        "no AWS credentials were found: there are no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, no profile with any "
        "(AWS_PROFILE), no AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN, and no role of a container or a machine. "
        "`envelope-codec doctor`, run as this process, examines every master key"
    )
