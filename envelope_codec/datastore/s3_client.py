"""A client of boto3 for S3, behind the interface of the SDK's own S3 driver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from temporalio.contrib.aws.s3driver import S3StorageDriverClient

from envelope_codec.aws.credentials_error import CredentialsUnavailable
from envelope_codec.aws.meanings import NO_CONFIGURATION
from envelope_codec.aws.sessions import describe
from envelope_codec.datastore.aws_client import OPTIONS as AWS_OPTIONS
from envelope_codec.datastore.aws_client import AwsClient, make_boto3_client, parse_options
from envelope_codec.datastore.s3_error import MISSING, NotS3, check_stored, code_of, translate
from envelope_codec.datastore.s3_rules import OPTIONS as RULES
from envelope_codec.datastore.s3_rules import BucketRules
from envelope_codec.errors import ConfigurationError
from envelope_codec.store import LARGEST, too_large

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_T = TypeVar("_T")

_ERRORS = (ClientError, BotoCoreError, ResponseParserError, NotS3, RecursionError, CredentialsUnavailable, OSError)

OPTIONS = AWS_OPTIONS | RULES | {"addressing"}
"""Names of the options that a URL of S3 may have."""

NO_RULES = BucketRules()


class Boto3Client(AwsClient["S3Client"], S3StorageDriverClient):
    """A client of boto3 behind the client interface of the SDK's own S3 driver, which takes it as well.

    Args:
        client: an S3 client of boto3. Any number of threads may use it.
        renew: makes another client in a forked child. Without it the child goes on with the same one, and hangs if a
            thread of its parent held one of the locks in it.
    """

    def __init__(self, client: S3Client, renew: Callable[[], S3Client] | None = None) -> None:
        AwsClient.__init__(self, client, renew, name="envelope-codec-s3")

    async def put_object(self, *, bucket: str, key: str, data: bytes) -> None:
        """Store an object, by PutObject: 5 GiB at most."""
        body = [data]
        del data  # or the thread holds a large one for a moment longer than this call lasts
        await self.run(lambda s3: check_stored(s3.put_object(Bucket=bucket, Key=key, Body=body.pop())))

    async def object_exists(self, *, bucket: str, key: str) -> bool:
        """Return whether there is such an object."""
        try:
            await self.run(lambda s3: s3.head_object(Bucket=bucket, Key=key))
        except ClientError as error:
            if code_of(error) in MISSING:
                return False
            raise
        return True

    async def get_object(self, *, bucket: str, key: str, limit: int = LARGEST) -> bytes:
        """Return the bytes of an object. Raises `TooLarge` if there are more than ``limit``."""
        return await self.run(lambda s3: _read(s3.get_object(Bucket=bucket, Key=key), limit))


def parse_bucket(url: str, setting: str) -> tuple[str, str, dict[str, str]]:
    """Return the bucket, the prefix with a slash at its end or nothing, and the options of a URL.

    Raises:
        ConfigurationError: it is no such URL.
    """
    parts = urlsplit(url)
    if not parts.netloc or "@" in parts.netloc or ":" in parts.netloc or parts.fragment:
        raise ConfigurationError(f"{setting}: a bucket is s3://BUCKET/PREFIX; credentials are found as by any AWS tool")
    prefix = unquote(parts.path).strip("/")
    return parts.netloc, f"{prefix}/" if prefix else "", parse_options(parts.query, OPTIONS, "s3", setting)


async def in_our_errors(operation: str, work: Awaitable[_T], rules: BucketRules = NO_RULES) -> _T:
    """Await ``work``, and raise our errors in place of boto3's. ``rules`` are those that its requests keep."""
    try:
        return await work
    except _ERRORS as error:
        raise translate(error, operation, rules) from None
    except ConfigurationError as error:  # a forked child can't make the client that its parent could
        failure = CredentialsUnavailable(NO_CONFIGURATION, error.reason)
    raise translate(failure, operation)


def make_client(options: Mapping[str, str], setting: str = "storage") -> S3Client:
    """Make a client of boto3 from the options of a URL, which was given in ``setting``. No network is asked.

    Raises:
        ConfigurationError: boto3 takes no such options, or the AWS configuration is wrong.
    """
    addressing: Any = {"addressing_style": options.get("addressing", "auto")}
    try:
        config = Config(s3=addressing, **_checksum_settings(options))
    except BotoCoreError as error:
        raise ConfigurationError(f"{setting}: no client for s3:// can be made: {describe(error)}") from None
    rules = BucketRules.of(options, setting)
    client: S3Client = make_boto3_client("s3", options, config, setting)
    rules.apply_to(client)
    return client


def _read(answer: Mapping[str, Any], limit: int) -> bytes:
    """Read the body of an answer up to its end, where botocore checks a checksum, unless it is longer than allowed."""
    pieces, told = [], answer.get("ContentLength", 0)
    with answer["Body"] as body:  # closed before its end, it closes its connection
        if told > limit:
            raise too_large()
        if told:
            pieces.append(body.read(told))  # in one piece: urllib3 copies what is less than was asked for
        left = limit + 1 - sum(map(len, pieces))
        while left and (piece := body.read(left)):
            pieces.append(piece)
            left -= len(piece)
    if not left:
        raise too_large()
    return b"".join(pieces)


def is_amazon(options: Mapping[str, str]) -> bool:
    """Say whether the options of a URL lead to Amazon's own S3."""
    host = urlsplit(options.get("endpoint", "")).hostname or "amazonaws.com"
    return f".{host}".endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _checksum_settings(options: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that keep boto3 from sending checksums to servers other than Amazon's, which may refuse them.

    Nothing is lost without them: the claim that Temporal keeps has a digest of the payload.
    """
    if is_amazon(options) or not hasattr(Config(), "request_checksum_calculation"):
        return {}
    return {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
