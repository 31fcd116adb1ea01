"""The boto3 KMS client of one process, and its credentials."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, NoCredentialsError

from envelope_codec.aws.credentials import WatchedCredentials, watch
from envelope_codec.aws.credentials_error import CredentialsUnavailable
from envelope_codec.aws.sessions import Sessions, describe
from envelope_codec.aws.signing import separate_signing, watch_signing
from envelope_codec.aws.wirelog import WIRE_LOG
from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_value
from envelope_codec.provider import Failed, ProcessClient, check_no_options, meanings
from envelope_codec_aws._key_id import KeyArn
from envelope_codec_aws._options import WHERE, ClientOptions

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

_log = logging.getLogger("envelope_codec.aws")

_POOL_CONNECTIONS = 32

_Built = tuple["KMSClient", WatchedCredentials]


class OwnConnection:
    """A KMS client that is built here, at its first use in each process.

    Args:
        arn: the key; its region is asked.
        options: how to reach AWS.

    Raises:
        ConfigurationError: an option is wrong.
    """

    def __init__(self, arn: KeyArn, options: ClientOptions) -> None:
        options.check(arn)
        sessions = Sessions(options.access, arn.region, *options.timeouts, _POOL_CONNECTIONS)
        _check_configuration(sessions)
        self.process = ProcessClient(partial(_build, sessions, options.endpoint), close=_close)

    @contextmanager
    def in_use(self) -> Iterator[KMSClient]:
        """Give the client for one call, with credentials at hand.

        Raises:
            CredentialsUnavailable: there are none, or the AWS configuration can't be used.
            Failed: the connection is closed.
        """
        with WIRE_LOG.silenced(), self.process.in_use() as (client, credentials):
            # Before the call, so that none is made if `close` comes while they are waited for.
            credentials.get_frozen_credentials()
            if self.process.is_closed:
                raise Failed(meanings.CLOSED)
            yield client

    def close(self) -> None:
        """Close the client, for good."""
        self.process.close()


class GivenConnection:
    """A KMS client that somebody else built.

    Args:
        client: of boto3.
        arn: the key.
        options: must be empty.

    Raises:
        ConfigurationError: it is for something else, or there are options.
    """

    def __init__(self, client: KMSClient, arn: KeyArn, options: ClientOptions) -> None:
        check_no_options(vars(options))
        _check_client(client, arn)
        watch_signing(client)
        # To close it is to forget its connections, which are the parent's; it opens others.
        self.process = ProcessClient.given(client, reconnect=lambda client: client.close())

    @contextmanager
    def in_use(self) -> Iterator[KMSClient]:
        """Give the client for one call. Raises what `OwnConnection.in_use` raises."""
        with WIRE_LOG.silenced(), separate_signing():
            yield self.process.get()

    def close(self) -> None:
        """Use the client no more. It is not closed."""
        self.process.close()


def _check_client(client: KMSClient, arn: KeyArn) -> None:
    service = client.meta.service_model.service_name
    if service != "kms":
        raise ConfigurationError(f"client= must be a KMS client, boto3.client('kms', …), not one for {service!r}")
    region = client.meta.region_name
    if region != arn.region:
        raise ConfigurationError(
            f"client= is for region {region!r}, but the key is in {arn.region!r}: "
            f"build it with region_name={arn.region!r}"
        )


def _check_configuration(sessions: Sessions) -> None:
    profile = sessions.access.profile
    if profile is None and not sessions.access.endpoint_flags:
        return
    try:
        sessions.make().get_scoped_config()
        sessions.check("kms", WHERE)
    except BotoCoreError as error:
        raise ConfigurationError(
            f"{WHERE} profile={show_value(profile)} can't be used: {describe(error)}; see AWS_CONFIG_FILE and "
            "~/.aws/config"
        ) from None


def _build(sessions: Sessions, endpoint: str | None) -> _Built:
    """Build a client. Asks no network. Raises `CredentialsUnavailable`: the AWS configuration can't be used."""
    try:
        session = sessions.make()
        credentials = watch(session, partial(_found_credentials, sessions))
        client = boto3.Session(botocore_session=session).client("kms", endpoint_url=endpoint)
    except Exception as error:
        failure = CredentialsUnavailable.of(error)
    else:
        return client, credentials
    raise failure


def _close(built: _Built) -> None:
    built[0].close()


def _found_credentials(sessions: Sessions) -> Any:
    found = sessions.find_credentials()
    if found is None:
        _tell_missing()
        raise NoCredentialsError
    return found


@cache
def _tell_missing() -> None:
    """Log that there are no credentials, once a process: each later try ends the same way."""
    _log.warning(
        "no AWS credentials were found: there are no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, no profile with any "
        "(AWS_PROFILE), no AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN, and no role of a container or a machine. "
        "`envelope-codec doctor`, run as this process, examines every master key"
    )
