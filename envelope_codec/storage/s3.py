"""Payloads in Amazon S3, or whatever speaks its protocol."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ChecksumError, ClientError, FlexibleChecksumError, ParamValidationError
from botocore.session import Session
from temporalio.contrib.aws.s3driver import S3StorageDriverClient

from envelope_codec._process import PerProcess, keep
from envelope_codec.aws.credentials import REJECTED, CredentialsUnavailable, watch
from envelope_codec.aws.meanings import NO_CONFIGURATION
from envelope_codec.aws.wirelog import WIRE_LOG
from envelope_codec.errors import (
    ConfigurationError,
    EnvelopeError,
    InvalidCiphertext,
    MalformedEnvelope,
    PayloadMissing,
    StoreRefused,
    StoreUnavailable,
)
from envelope_codec.store import Stored, is_id

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_T = TypeVar("_T")
_log = logging.getLogger("envelope_codec.storage.s3")

_OPTIONS = frozenset(("region", "endpoint", "profile", "addressing"))
_THREADS = 32
_PAGE = 1_000
_MISSING = {"NoSuchKey", "404", "NotFound"}
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html: what says nothing of the request, and may pass.
_PASSING = {
    *("InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"),
    *("TooManyRequests", "OperationAborted", "500", "502", "503", "504"),
}
_OTHER_REGION = "the bucket is in another region: give ?region="
_CHECKSUM = "its server does not take the checksums that boto3 sends"
_ADVICE = {
    "NoSuchBucket": "the bucket does not exist",
    "PermanentRedirect": _OTHER_REGION,
    "AuthorizationHeaderMalformed": _OTHER_REGION,
    "IllegalLocationConstraintException": _OTHER_REGION,
    "301": _OTHER_REGION,
    "AccessDenied": "permission is missing (S3 says so of a missing object, too, to who may not list the bucket)",
    "403": "permission is missing",
    "NotImplemented": "its server does not do what was asked for",
    "501": "its server does not do what was asked for",
    "BadDigest": _CHECKSUM,
    "InvalidDigest": _CHECKSUM,
    "XAmzContentChecksumMismatch": _CHECKSUM,
    "XAmzContentSHA256Mismatch": _CHECKSUM,
    "MissingContentLength": _CHECKSUM,
    "411": _CHECKSUM,
}
_NOT_S3 = "the answer is not one of S3: a proxy or a gateway before it gave it"
_CREDENTIALS = "S3 did not take the credentials: expired, unknown or wrongly signed"
# Of servers that speak a part of S3, and of redirects, which have no body.
_WITHOUT_CODE = {301, 411}
_FULL = {"QuotaExceeded", "XMinioStorageFull"}
# Of services that are not Amazon's, with their own words for it.
_CHECKSUM_WORDS = ("checksum", "x-amz-sdk", "x-amz-trailer", "aws-chunked", "streaming-unsigned-payload-trailer")


class Boto3Client(S3StorageDriverClient):
    """boto3 behind the client interface of the SDK's own S3 driver, which may be given it as well.

    Args:
        client: an S3 client of boto3, which any number of threads may use.
        anew: makes another one in a forked child. Without it the child goes on with the same, and hangs if a thread of
            its parent held one of the locks in it.
    """

    def __init__(self, client: S3Client, anew: Callable[[], S3Client] | None = None) -> None:
        self._client = client
        self._anew = anew
        self._threads = PerProcess(self._new_threads)

    def _new_threads(self, parents: ThreadPoolExecutor | None) -> ThreadPoolExecutor:
        if parents is not None and self._anew is not None:
            keep(self._client)
            self._client = self._anew()
        elif parents is not None:
            self._client.close()  # forgets connections, which are the parent's, and opens others
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="envelope-codec-s3")

    async def put_object(self, *, bucket: str, key: str, data: bytes) -> None:
        """See `S3StorageDriverClient.put_object`. PutObject: 5 GiB at most."""
        body = [data]
        del data  # or the thread holds a large one for a moment longer than this call lasts
        await self.run(lambda s3: s3.put_object(Bucket=bucket, Key=key, Body=body.pop()))

    async def object_exists(self, *, bucket: str, key: str) -> bool:
        """See `S3StorageDriverClient.object_exists`."""
        try:
            await self.run(lambda s3: s3.head_object(Bucket=bucket, Key=key))
        except ClientError as error:
            if _code(error) in _MISSING:
                return False
            raise
        return True

    async def get_object(self, *, bucket: str, key: str) -> bytes:
        """See `S3StorageDriverClient.get_object`."""
        return await self.run(lambda s3: s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    async def run(self, work: Callable[[S3Client], _T]) -> _T:
        """Run ``work`` in a thread. botocore logs no request and no reply of it, nor of the token service's."""
        threads = self._threads.get()  # first, for it may change the client
        return await asyncio.get_running_loop().run_in_executor(threads, _quietly, work, self._client)

    def close(self) -> None:
        """Release the connections. Does not wait for calls under way."""
        self._threads.get().shutdown(wait=False, cancel_futures=True)
        self._client.close()


class S3Store:
    """A `PayloadStore` in a bucket: ``s3://BUCKET/PREFIX?region=…&endpoint=…&profile=…&addressing=path``.

    Credentials are found as by any AWS tool. Needs ``s3:PutObject`` and ``s3:GetObject``; ``s3:ListBucket`` and
    ``s3:DeleteObject`` for what tidies up.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if not parts.netloc or "@" in parts.netloc or ":" in parts.netloc or parts.fragment:
            raise ConfigurationError(
                "storage: a bucket is s3://BUCKET/PREFIX; credentials are found as by any AWS tool"
            )
        for option, value in options.items():
            if option not in _OPTIONS or not value:
                known = ", ".join(sorted({"name", *_OPTIONS}))
                raise ConfigurationError(f"storage: s3:// has no option {option!r}, or it is empty (known: {known})")
        if "@" in options.get("endpoint", ""):
            raise ConfigurationError("storage: endpoint must not hold credentials (…@…); S3 takes signed requests")
        self._bucket = parts.netloc
        prefix = unquote(parts.path).strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._s3 = Boto3Client(_client(options), lambda: _client(options))

    async def put(self, id: str, data: bytes) -> None:
        """See `PayloadStore.put`."""
        await self._do("put", self._s3.put_object(bucket=self._bucket, key=self._prefix + id, data=data))

    async def get(self, id: str) -> bytes:
        """See `PayloadStore.get`."""
        return await self._do("get", self._s3.get_object(bucket=self._bucket, key=self._prefix + id))

    async def get_plain(self, claim: Mapping[str, str]) -> bytes:
        """What the SDK's own S3 driver stored in this bucket, and claimed in clear."""
        if claim.get("bucket") != self._bucket or claim.get("hash_algorithm") != "sha256" or "key" not in claim:
            raise MalformedEnvelope("the reference to the datastore is for another bucket, or not one of S3")
        data = await self._do("get", self._s3.get_object(bucket=self._bucket, key=claim["key"]))
        if sha256(data).hexdigest() != claim.get("hash_value"):
            raise InvalidCiphertext("the datastore returned other bytes than were stored", operation="get")
        return data

    async def delete(self, id: str) -> None:
        """See `PayloadStore.delete`."""
        key = self._prefix + id
        await self._do("delete", self._s3.run(lambda s3: s3.delete_object(Bucket=self._bucket, Key=key)))

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        """See `PayloadStore.list_before`."""
        token: dict[str, Any] = {}
        while True:

            def page(s3: S3Client, token: dict[str, Any] = token) -> Any:
                return s3.list_objects_v2(
                    Bucket=self._bucket, Prefix=self._prefix, Delimiter="/", MaxKeys=_PAGE, **token
                )

            found = await self._do("list", self._s3.run(page))
            for one in found.get("Contents", ()):
                id, created = one["Key"].removeprefix(self._prefix), one["LastModified"].timestamp()
                if is_id(id) and created < before:
                    yield Stored(id, created, one["Size"])
            if not found.get("IsTruncated"):
                return
            token = {"ContinuationToken": found["NextContinuationToken"]}

    async def check(self) -> None:
        """See `PayloadStore.check`."""
        await self.put("check", b"")
        await self.get("check")

    async def close(self) -> None:
        """See `PayloadStore.close`."""
        self._s3.close()

    async def _do(self, operation: str, work: Awaitable[_T]) -> _T:
        try:
            return await work
        except (ClientError, BotoCoreError, CredentialsUnavailable, OSError) as error:
            raise _failure(error, operation) from None
        except ConfigurationError as error:  # in a forked child, of what could be made in its parent
            failure = CredentialsUnavailable(NO_CONFIGURATION, error.reason)
        raise _failure(failure, operation)


def _quietly(work: Callable[[S3Client], _T], client: S3Client) -> _T:
    with WIRE_LOG.silenced():
        return work(client)


def _client(options: Mapping[str, str]) -> S3Client:
    addressing: Any = {"addressing_style": options.get("addressing", "auto")}
    try:
        session = _session(options)
        watch(session, lambda: _session(options).get_credentials())
        config = Config(s3=addressing, **_checksums(options))
        return boto3.Session(botocore_session=session).client("s3", endpoint_url=options.get("endpoint"), config=config)
    except BotoCoreError as error:
        raise ConfigurationError(f"storage: no client for s3:// can be made: {error}") from None
    except ValueError:  # whose text repeats the endpoint
        raise ConfigurationError("storage: no client for s3:// can be made: endpoint is not a URL") from None


def _session(options: Mapping[str, str]) -> Session:
    session = Session(profile=options.get("profile"))
    if "region" in options:
        session.set_config_variable("region", options["region"])
    # The session's default, so that it also bounds the clients that botocore makes to fetch credentials.
    session.set_default_client_config(
        Config(
            connect_timeout=5,
            read_timeout=8,  # a call that nobody waits for any more holds one of the threads no longer
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=_THREADS,
            user_agent_extra="envelope-codec",
        )
    )
    return session


def _checksums(options: Mapping[str, str]) -> dict[str, Any]:
    """boto3 sends checksums of its own, which servers other than Amazon's may refuse. Nothing is lost without them:
    what Temporal keeps of a payload has a digest of it.
    """
    host = urlsplit(options.get("endpoint", "")).hostname or "amazonaws.com"
    if f".{host}".endswith((".amazonaws.com", ".amazonaws.com.cn")) or not hasattr(
        Config(), "request_checksum_calculation"
    ):
        return {}
    return {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}


def _failure(error: Exception, operation: str) -> EnvelopeError:
    code = _code(error)
    if isinstance(error, CredentialsUnavailable):
        _log.debug("S3 %s failed: %s", operation, error.said)
        return StoreUnavailable(error.meaning.text, operation=operation)
    _log.debug("S3 %s failed: %s", operation, code or type(error).__name__)
    if isinstance(error, ClientError) and not _is_from_s3(error):
        _log.warning("what answered an S3 %s is not S3: HTTP status %d", operation, _status(error))
        return StoreUnavailable(_NOT_S3, operation=operation)
    if code in _MISSING and operation == "get":
        return PayloadMissing("the datastore has no such payload", operation=operation)
    if isinstance(error, ParamValidationError):
        return StoreRefused("the bucket refused: its name, or the prefix, is not valid", operation=operation)
    if isinstance(error, (ChecksumError, FlexibleChecksumError)):
        return StoreUnavailable("what the bucket sent does not fit its checksum", operation=operation)
    if code in REJECTED:
        return StoreUnavailable(_CREDENTIALS, operation=operation)
    if not isinstance(error, ClientError):
        return StoreUnavailable("the bucket did not answer", operation=operation)
    advice = _advice(error)
    if advice is None and (code in _PASSING or _status(error) >= 500):
        return StoreUnavailable("the bucket did not answer", operation=operation)
    if advice is None:
        _log.warning("S3 refused a %s: code %.64r", operation, code)
    return StoreRefused(f"the bucket refused: {advice or 'the log has its code'}", operation=operation)


def _advice(error: ClientError) -> str | None:
    """What is to be told of a refusal, if it is known."""
    code, status = _code(error), _status(error)
    words = str(error.response.get("Error", {}).get("Message", "")).lower()
    if code in _FULL:
        return "it is full"
    if status >= 500 and status != 501:  # which alone does not pass
        return None
    if any(word in words for word in _CHECKSUM_WORDS):
        return _CHECKSUM
    return _ADVICE.get("501" if status == 501 else code)


def _is_from_s3(error: ClientError) -> bool:
    """Whether a refusal is an answer of S3's, as far as that is to be seen: it has a code, or S3's own headers."""
    code, status = _code(error), _status(error)
    sent = error.response.get("ResponseMetadata", {})
    coded = (bool(code) and not code.isdigit()) or status in _WITHOUT_CODE or status >= 500
    return coded or bool(sent.get("RequestId") or sent.get("HostId"))


def _code(error: Exception) -> str:
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
