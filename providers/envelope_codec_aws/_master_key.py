"""`AwsKms`: a master key in AWS KMS."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import LastUse, Unwrapped, WrappedSecret
from envelope_codec.provider import Failed, asks_kms, meanings, parse_options
from envelope_codec_aws import _hints as hints
from envelope_codec_aws._connection import GivenConnection, OwnConnection
from envelope_codec_aws._errors import ERRORS, code_of
from envelope_codec_aws._facts import FACTS
from envelope_codec_aws._key_id import KeyArn, check_accounts
from envelope_codec_aws._last_use import ask_last_usage, read_last_use
from envelope_codec_aws._options import ClientOptions
from envelope_codec_aws._proxy import read_context
from envelope_codec_aws._replies import material_in
from envelope_codec_aws._targets import Targets

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

_log = logging.getLogger("envelope_codec.aws")
_T = TypeVar("_T")


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
        fips: ask AWS's FIPS endpoints, of the token service too. None is as the AWS configuration says.
        dualstack: ask AWS's endpoints that IPv6 reaches as well. Neither goes with an endpoint of your own.
        connect_timeout: seconds, default 2.
        read_timeout: seconds, default 5.
        decrypt_accounts: AWS accounts, any of whose keys in the ARN's region opens as well, as far as AWS lets us
            decrypt with it. Whoever may encrypt with one of them can make what opens.

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
        fips: bool | None = None,
        dualstack: bool | None = None,
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
            fips=fips,
            dualstack=dualstack,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
        )
        self._arn = KeyArn.parse(key_arn)
        self._targets = Targets(self._arn, check_accounts(decrypt_accounts), self._describe)
        self._connection: OwnConnection | GivenConnection
        if client is None:
            self._connection = OwnConnection(self._arn, options)
        else:
            self._connection = GivenConnection(client, self._arn, options)
        self._warned: set[tuple[str, str, str]] = set()

    @classmethod
    def from_uri(cls, uri: str, /) -> AwsKms:
        """Make the master key of ``awskms:///ARN?option=value``; the options are the constructor's."""
        parsed, options = parse_options(uri, FACTS)
        if parsed.authority:
            raise ConfigurationError(
                f"key URI {parsed.shown!r} must have three slashes, awskms:///ARN; another server is ?endpoint=URL"
            )
        return cls(parsed.path, **options)

    def __repr__(self) -> str:
        return f"AwsKms({self.key_id!r})"

    @property
    def key_id(self) -> str:
        """The ARN that was given, of the alias if it was one."""
        return self._arn.text

    @asks_kms("unwrap")
    def accepts(self, key_id: str) -> bool:
        """Whether ``key_id`` is this key, its replica, a key that the alias points at, or one of a known account."""
        return self._targets.find(key_id) is not None

    @asks_kms("wrap")
    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        """Encrypt: https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html"""
        reply = self._ask(
            "wrap",
            self.key_id,
            lambda kms: kms.encrypt(KeyId=self.key_id, Plaintext=secret, EncryptionContext=dict(context)),
        )
        used, ciphertext = reply.get("KeyId"), reply.get("CiphertextBlob")
        if not isinstance(used, str) or not self._targets.can_be(used) or not ciphertext:
            raise Failed(meanings.NO_ANSWER)
        self._targets.add(used)
        return WrappedSecret(used, material_in(reply, "KeyMaterialId"), ciphertext)

    @asks_kms("unwrap")
    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        """Decrypt: https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html

        One success stands for all of a key's material: none is disabled, deleted or expires apart from the key.
        """
        key_id = self._targets.get(wrapped.key_id)
        used, secret, material = self._decrypt(key_id, wrapped.ciphertext, context)
        if used != key_id:
            raise Failed(hints.OTHER_KEY_USED, key_id=key_id)
        return Unwrapped(secret, "", used_version=material)

    @asks_kms("unwrap")
    def rewrap_to(self, other: object, wrapped: WrappedSecret, context: Mapping[str, str]) -> WrappedSecret:
        """ReEncrypt: https://docs.aws.amazon.com/kms/latest/APIReference/API_ReEncrypt.html

        The credentials of this key need ``kms:ReEncryptFrom`` for it and ``kms:ReEncryptTo`` for ``other``, and neither
        ``kms:Decrypt`` nor ``kms:Encrypt``. AWS does it within one region.

        Raises:
            ConfigurationError: ``other`` is no key of AWS, or is in another region.
        """
        if not isinstance(other, AwsKms):
            raise ConfigurationError("AWS KMS re-encrypts for another key of AWS KMS alone")
        if (other._arn.partition, other._arn.region) != (self._arn.partition, self._arn.region):
            raise ConfigurationError(
                f"AWS KMS re-encrypts within one region: {self.key_id} and {other.key_id} are in two"
            )
        source = self._targets.get(wrapped.key_id)
        reply = self._ask(
            "unwrap",
            source,
            lambda kms: kms.re_encrypt(
                CiphertextBlob=wrapped.ciphertext,
                SourceKeyId=source,
                SourceEncryptionContext=dict(context),
                DestinationKeyId=other.key_id,
                DestinationEncryptionContext=dict(context),
            ),
        )
        used, ciphertext = reply.get("KeyId"), reply.get("CiphertextBlob")
        if reply.get("SourceKeyId") != source:
            raise Failed(hints.OTHER_KEY_USED, key_id=source)
        if not isinstance(used, str) or not other._targets.can_be(used) or not ciphertext:
            raise Failed(meanings.NO_ANSWER)
        other._targets.add(used)
        return WrappedSecret(used, material_in(reply, "DestinationKeyMaterialId"), ciphertext)

    def proxy_unwrapper(self, uri: str) -> Callable[[bytes], bytes]:
        """Return a function that unwraps what Temporal's proxy had wrapped under this key, which it calls ``uri``.

        It needs ``kms:Decrypt`` without a condition on the encryption context.

        Raises:
            ConfigurationError: ``uri`` is of another key.
        """
        return partial(self._unwrap_proxied, read_context(uri, self._arn))

    @asks_kms("unwrap")
    def _unwrap_proxied(self, context: Mapping[str, str], ciphertext: bytes) -> bytes:
        used, secret, _ = self._decrypt(self.key_id, ciphertext, context)
        if not self._targets.can_be(used):
            raise Failed(hints.OTHER_KEY_USED)
        return secret

    @asks_kms("last use")
    def last_use(self, key_id: str) -> LastUse | None:
        """GetKeyLastUsage: https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyLastUsage.html

        Needs ``kms:GetKeyLastUsage``, and the key's own account. None with a botocore that does not know the call.
        """
        target = self._targets.get(key_id)
        reply = self._ask("last use", target, lambda kms: ask_last_usage(kms, target))
        return None if reply is None else read_last_use(reply)

    def close(self) -> None:
        """Close the client that was built here. Final: a later call gets `KmsUnavailable`."""
        self._connection.close()

    def _decrypt(self, key_id: str, ciphertext: bytes, context: Mapping[str, str]) -> tuple[str, bytes, str]:
        """Return the ARN of the key that AWS used, what was encrypted, and the id of the material, if AWS tells it."""
        reply = self._ask(
            "unwrap",
            key_id,
            lambda kms: kms.decrypt(KeyId=key_id, CiphertextBlob=ciphertext, EncryptionContext=dict(context)),
        )
        used, secret = reply.get("KeyId"), reply.get("Plaintext")
        if isinstance(used, str) and secret:
            return used, secret, material_in(reply, "KeyMaterialId")
        raise Failed(meanings.NO_ANSWER, key_id=key_id)

    def _describe(self) -> str:
        """DescribeKey: https://docs.aws.amazon.com/kms/latest/APIReference/API_DescribeKey.html"""
        reply = self._ask("unwrap", self.key_id, lambda kms: kms.describe_key(KeyId=self.key_id))
        target = reply.get("KeyMetadata", {}).get("Arn")
        if not isinstance(target, str) or not self._targets.can_be(target):
            raise Failed(meanings.NO_ANSWER)
        return target

    def _ask(self, operation: str, key_id: str, request: Callable[[KMSClient], _T]) -> _T:
        """Ask with the key ``key_id``, which is not the configured one where that is an alias."""
        try:
            with self._connection.in_use() as client:
                return request(client)
        # Any class: botocore also lets errors through that are not its own, of its parsers, sockets and credentials.
        except Exception as error:
            meaning = ERRORS.look_up(error, operation)
            self._report(operation, key_id, error, meaning.code)
        raise Failed(meaning, key_id=key_id)

    def _report(self, operation: str, key_id: str, error: Exception, reason: str) -> None:
        """Log a failure: once as a warning, then for debugging."""
        kind = (operation, reason, code_of(error))
        level = logging.DEBUG if kind in self._warned else logging.WARNING
        self._warned.add(kind)
        _log.log(level, "AWS KMS %s with %s failed: %s", operation, key_id, ERRORS.describe(error))
