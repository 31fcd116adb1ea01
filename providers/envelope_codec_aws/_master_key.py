"""`AwsKms`: a master key in AWS KMS."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from envelope_codec.aws_credentials import CredentialsUnavailable, told_apart, watch_signing
from envelope_codec.aws_wirelog import bodies_unlogged
from envelope_codec.errors import ConfigurationError, EnvelopeError, InvalidCiphertext, KmsUnavailable
from envelope_codec.kms import Unwrapped, WrappedSecret, parse_key_uri
from envelope_codec.process import PerProcess
from envelope_codec.provider import asks_kms
from envelope_codec_aws._connection import ProcessClient
from envelope_codec_aws._errors import Closed, code, describe, translate
from envelope_codec_aws._key_id import KeyArn, checked_accounts
from envelope_codec_aws._options import ClientOptions

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

_log = logging.getLogger("envelope_codec.aws")
_T = TypeVar("_T")

# An alias may be pointed at another key at any time, and other workers then seal under that key at once. So "not ours"
# holds for this many seconds only; what the alias was once seen to point at stays accepted.
_ALIAS_RECHECK = 10.0

# A failed look-up is told again for so many seconds: a record can name many keys, and each would be looked up.
_ALIAS_REFUSED = 5.0
_ALIAS_UNANSWERED = 1.0


class AwsKms:
    """A symmetric KMS key, by its ARN or through an alias.

    Needs ``kms:Encrypt`` to seal, ``kms:Decrypt`` to open, and with an alias ``kms:DescribeKey`` to open. Requests go
    to the ARN's region. Safe for use by many threads; a forked child builds a client of its own.

    Args:
        key_arn: ARN of a key, or of an alias. A multi-Region key (``mrk-…``) also opens what a replica in another
            region wrapped. An alias opens what was wrapped by any key that it was seen to point at; a key that it
            pointed at before this process started is a decryption key of its own.
        client: a KMS client built by boto3, used instead of building one; then no other option may be given, its
            retries and time-outs are yours to set, `close` leaves it open, and a forked child must not use it.
        endpoint: URL of the KMS, for a VPC endpoint or a local server. Over ``http`` secrets travel in clear.
        sts_endpoint: URL of the token service, with ``role``. ``endpoint`` does not apply to it.
        profile: profile of the AWS configuration files.
        role: ARN of an IAM role to assume with the credentials found otherwise; refreshed before they expire.
        role_session_name: what CloudTrail calls that session; default ``envelope-codec``.
        external_id: what the role's trust policy may ask for.
        connect_timeout: seconds, default 2.
        read_timeout: seconds, default 5.
        decrypt_accounts: AWS accounts (12 digits), any of whose keys in the ARN's region opens as well, as far as AWS
            lets the caller decrypt with it: for an alias that has pointed at many. Whoever may encrypt with one of them
            can make what opens.

    Raises:
        ConfigurationError: an option is wrong; the text names it and the fix.
    """

    def __init__(
        self,
        key_arn: str,
        *,
        client: KMSClient | None = None,
        endpoint: str | None = None,
        sts_endpoint: str | None = None,
        profile: str | None = None,
        role: str | None = None,
        role_session_name: str | None = None,
        external_id: str | None = None,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        decrypt_accounts: Collection[str] = (),
    ) -> None:
        options = ClientOptions(
            endpoint=endpoint,
            sts_endpoint=sts_endpoint,
            profile=profile,
            role=role,
            role_session_name=role_session_name,
            external_id=external_id,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
        )
        self._arn = KeyArn.parse(key_arn)
        self._decrypt_accounts = checked_accounts(decrypt_accounts)
        if client is not None:
            _check_client(client, self._arn, options)
            watch_signing(client)
        else:
            options.check(self._arn)
        self._given_client = None if client is None else PerProcess(partial(_in_this_process, client))
        self._own_client = ProcessClient(self._arn.region, options)
        self._closed = False
        # Without a lock, which would have to survive a fork: set.add is atomic, and the worst that two threads can do
        # is to ask AWS twice.
        self._targets = set() if self._arn.is_alias else {self._arn.text}
        self._asked_at: float | None = None
        self._alias_failure: tuple[EnvelopeError, float] | None = None
        self._warned: set[tuple[str, str]] = set()

    @classmethod
    def from_uri(cls, uri: str, /) -> AwsKms:
        """The master key of ``awskms:///ARN?option=value``; the options are the constructor's, without ``client``."""
        parsed = parse_key_uri(uri, scheme="awskms", options=ClientOptions.names() | {"decrypt_accounts"})
        if parsed.authority:
            raise ConfigurationError(
                f"key URI {parsed.shown!r} must have three slashes, awskms:///ARN; another server is ?endpoint=URL"
            )
        texts = dict(parsed.options)
        accounts = texts.pop("decrypt_accounts", "")
        options = ClientOptions.from_texts(texts)
        given = {name: getattr(options, name) for name in options.given}
        return cls(parsed.path, decrypt_accounts=accounts.split(",") if accounts else (), **given)

    def __repr__(self) -> str:
        return f"AwsKms({self.key_id!r})"

    @property
    def key_id(self) -> str:
        """The ARN that was given, of the alias if it was one."""
        return self._arn.text

    @asks_kms("unwrap")
    def accepts(self, key_id: str) -> bool:
        """Whether ``key_id`` is this key, its replica in another region, a key that the alias points at, or one of an
        account that may be decrypted with.
        """
        return self._name_here(key_id) is not None

    @asks_kms("wrap")
    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        """Encrypt: https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html"""
        reply = self._ask(
            "wrap",
            self.key_id,
            lambda kms: kms.encrypt(KeyId=self.key_id, Plaintext=secret, EncryptionContext=dict(context)),
        )
        used, ciphertext = reply.get("KeyId"), reply.get("CiphertextBlob")
        if not isinstance(used, str) or not self._is_target(used) or not ciphertext:
            raise KmsUnavailable("the KMS gave no usable answer", operation="wrap", key_id=self.key_id)
        self._targets.add(used)
        return WrappedSecret(used, "", ciphertext)

    @asks_kms("unwrap")
    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        """Decrypt: https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html

        A key's rotated material can't be disabled apart from the key, so one success stands for all of it.
        """
        key_id = self._name_here(wrapped.key_id)
        if key_id is None:
            raise InvalidCiphertext("wrapped by another key", operation="unwrap", key_id=self.key_id)
        reply = self._ask(
            "unwrap",
            key_id,
            lambda kms: kms.decrypt(KeyId=key_id, CiphertextBlob=wrapped.ciphertext, EncryptionContext=dict(context)),
        )
        used, secret = reply.get("KeyId"), reply.get("Plaintext")
        if not isinstance(used, str) or not secret:
            raise KmsUnavailable("the KMS gave no usable answer", operation="unwrap", key_id=key_id)
        if used != key_id:
            raise InvalidCiphertext("the KMS used another key than it was asked to", operation="unwrap", key_id=key_id)
        return Unwrapped(secret, "")

    def close(self) -> None:
        """Close the client that was built here. Final: a later call gets `KmsUnavailable`."""
        self._closed = True
        self._own_client.close()

    def _name_here(self, key_id: str) -> str | None:
        """ARN under which this region knows the key ``key_id``, if it is ours; may ask where the alias points."""
        key = KeyArn.parse_key(key_id)
        if key is None:
            return None
        local = key.in_region(self._arn.region)
        here = local.text
        if here in self._targets:
            return here
        mine = self._arn
        if local.account in self._decrypt_accounts and (local.partition, local.region) == (mine.partition, mine.region):
            return here
        if not self._arn.is_alias or not self._is_target(here) or not self._alias_due():
            return None
        self._follow_alias()
        return here if here in self._targets else None

    def _is_target(self, key_id: str) -> bool:
        """Whether the configured ARN can name the key ``key_id``. An alias has the account and region of its key."""
        mine = self._arn
        if not mine.is_alias:
            return key_id == mine.text
        key = KeyArn.parse_key(key_id)
        return key is not None and replace(mine, resource=key.resource, name=key.name) == key

    def _alias_due(self) -> bool:
        return self._asked_at is None or time.monotonic() - self._asked_at >= _ALIAS_RECHECK

    def _follow_alias(self) -> None:
        """Take note of what the alias points at, or raise what kept it from being told, also a moment ago."""
        if self._alias_failure is not None:
            failure, until = self._alias_failure
            if time.monotonic() < until:
                raise failure.fresh()
        asked_at = time.monotonic()
        try:
            target = self._alias_target()
        except EnvelopeError as error:
            pause = _ALIAS_UNANSWERED if isinstance(error, KmsUnavailable) else _ALIAS_REFUSED
            self._alias_failure = error.fresh(), time.monotonic() + pause
            raise
        self._targets.add(target)
        self._asked_at = asked_at
        self._alias_failure = None

    def _alias_target(self) -> str:
        """DescribeKey: https://docs.aws.amazon.com/kms/latest/APIReference/API_DescribeKey.html"""
        reply = self._ask("unwrap", self.key_id, lambda kms: kms.describe_key(KeyId=self.key_id))
        target = reply.get("KeyMetadata", {}).get("Arn")
        if not isinstance(target, str) or not self._is_target(target):
            raise KmsUnavailable("the KMS gave no usable answer", operation="unwrap", key_id=self.key_id)
        return target

    def _ask(self, operation: str, key_id: str, request: Callable[[KMSClient], _T]) -> _T:
        try:
            with bodies_unlogged(), self._client() as client:
                return request(client)
        # Any class: botocore also lets errors through that are not its own, of its parsers, sockets and credentials.
        except Exception as error:
            failure = translate(error, operation=operation, key_id=key_id)
            self._report(operation, key_id, error)
        # Out here, so that boto3's error, which holds key ids and endpoints, is not even the context of this one.
        raise failure

    @contextmanager
    def _client(self) -> Iterator[KMSClient]:
        if self._closed:
            raise Closed
        if self._given_client is None:
            with self._own_client.in_use() as client:
                yield client
        else:
            with told_apart():
                yield self._given_client.get()

    def _report(self, operation: str, key_id: str, error: Exception) -> None:
        kind = (operation, error.reason if isinstance(error, CredentialsUnavailable) else code(error))
        level = logging.DEBUG if kind in self._warned else logging.WARNING
        self._warned.add(kind)
        _log.log(level, "AWS KMS %s with %s failed: %s", operation, key_id, describe(error))


def _in_this_process(client: KMSClient, parents: KMSClient | None) -> KMSClient:
    if parents is not None:
        client.close()  # forgets connections, which are the parent's, and opens others
    return client


def _check_client(client: KMSClient, arn: KeyArn, options: ClientOptions) -> None:
    if options.given:
        raise ConfigurationError(
            f"AWS KMS options {', '.join(options.given)} can't be combined with client=: configure that client instead"
        )
    service = client.meta.service_model.service_name
    if service != "kms":
        raise ConfigurationError(f"client= must be a KMS client, boto3.client('kms', …), not one for {service!r}")
    region = client.meta.region_name
    if region != arn.region:
        raise ConfigurationError(
            f"client= is for region {region!r}, but the key is in {arn.region!r}: "
            f"build it with region_name={arn.region!r}"
        )
