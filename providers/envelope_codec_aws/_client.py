"""The boto3 KMS client of one process: its credentials, and when it is built."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import NoCredentialsError
from botocore.session import Session

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

    Thread-safe. A build that finds no credentials is not kept: the next use tries again. After `close`, here or in the
    parent before the fork, none is built any more.
    """

    _lock: threading.Lock
    _client: KMSClient | None
    _failure: Exception | None
    _failures: int

    def __init__(self, region: str, options: ClientOptions) -> None:
        self._region = region
        self._options = options
        self._closed = False
        self._forget()
        _clients.add(self)

    @contextmanager
    def in_use(self) -> Iterator[KMSClient]:
        """The client, for one call; raises what `get` raises."""
        client = self.get()
        try:
            yield client
        finally:
            if self._closed:
                # The call may have connected after `close` had ended the connections.
                client.close()

    def get(self) -> KMSClient:
        """May look for credentials over the network; raises what boto3 raises, and `Closed`."""
        client, failures = self._client, self._failures
        if client is not None:
            return client
        with self._lock:
            if self._closed:
                raise Closed
            if self._client is not None:
                return self._client
            if self._failure is not None and self._failures != failures:
                # Another thread tried while this one waited. To try once more, one thread after the other, could
                # take any time.
                raise self._failure
            try:
                client = _build(self._region, self._options)
            except Exception as error:
                self._failure, self._failures = error, self._failures + 1
                raise
            self._client, self._failure = client, None
            if self._closed:
                self._drop()
                raise Closed
            return client

    def close(self) -> None:
        """Final. Without the lock, which a thread may hold while it looks for credentials: it sees the flag then."""
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _forget(self) -> None:
        """Also in a forked child, where the lock may be held by a thread that is not there, and the sockets are the
        parent's.
        """
        self._lock = threading.Lock()
        self._client = None
        self._failure = None
        self._failures = 0


_clients: weakref.WeakSet[ProcessClient] = weakref.WeakSet()


def _forget_all() -> None:
    for client in list(_clients):
        client._forget()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_forget_all)


class _AssumedRole(CredentialProvider):
    """Credentials of a role, which botocore fetches at their first use and again before they expire."""

    METHOD = "assume-role"

    def __init__(self, source: Session, region: str, options: ClientOptions) -> None:
        super().__init__(session=source)
        self._source = source
        self._region = region
        self._options = options

    def load(self) -> DeferredRefreshableCredentials:
        options = self._options
        arguments = {"RoleSessionName": options.role_session_name or _SESSION_NAME}
        if options.external_id is not None:
            arguments["ExternalId"] = options.external_id
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=partial(
                self._source.create_client, region_name=self._region, endpoint_url=options.sts_endpoint
            ),
            source_credentials=_found_credentials(self._source),
            role_arn=str(options.role),
            extra_args=arguments,
        )
        return DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method=self.METHOD)


def _build(region: str, options: ClientOptions) -> KMSClient:
    session = _session(options)
    if options.role is not None:
        source, session = session, _session(options)
        resolver = CredentialResolver([_AssumedRole(source, region, options)])
        session.register_component("credential_provider", resolver)
    # Without this, botocore would build a client that goes without credentials for ever.
    _found_credentials(session)
    return boto3.Session(botocore_session=session, region_name=region).client("kms", endpoint_url=options.endpoint)


def _session(options: ClientOptions) -> Session:
    session = Session(profile=options.profile)
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


def _found_credentials(session: Session) -> object:
    credentials = session.get_credentials()
    if credentials is None:
        _tell_missing()
        raise NoCredentialsError
    return credentials


@cache
def _tell_missing() -> None:
    """Once a process: each later try ends the same way."""
    _log.warning(
        "no AWS credentials were found: there are no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, no profile with any "
        "(AWS_PROFILE), no AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN, and no role of a container or a machine. "
        "`envelope-codec doctor`, run as this process, examines every master key"
    )
