"""A KMS in this process with a latency of our choice, behind boto3's own client: the same for all who are compared.

boto3 builds, signs and parses each request as it would for AWS. A handler of its event ``before-send`` answers in
place of the network, after the latency, with real AES-256-GCM that is bound to the encryption context. A wrapped key
is as long as AWS makes it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.client import BaseClient
from botocore.compat import HTTPHeaders
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER_ARN = "arn:aws:kms:us-east-1:111122223333:key/00000000-12ab-34cd-56ef-1234567890ab"
_LENGTH = 152  # bytes that AWS's ciphertext is longer than the plaintext
_Fields = Mapping[str, Any]


class InProcessKms:
    """AWS KMS for one who is compared.

    Args:
        latency: seconds that each call takes.

    Attributes:
        latency: may be changed at any time.
        calls: so far.
        client: boto3's client of it.
    """

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.calls = 0
        self.client = answering_client("kms", self._answer)
        self._cipher = AESGCM(os.urandom(32))

    def _answer(self, operation: str, asked: _Fields) -> dict[str, Any]:
        self.calls += 1
        if self.latency:
            time.sleep(self.latency)
        reply: dict[str, Any] = {"KeyId": asked.get("KeyId", ARN)}
        context = asked.get("EncryptionContext", {})
        if operation == "Encrypt":
            reply["CiphertextBlob"] = self._wrap(base64.b64decode(asked["Plaintext"]), context)
        elif operation == "Decrypt":
            reply["Plaintext"] = _text(self._unwrap(asked["CiphertextBlob"], context))
        elif operation == "ReEncrypt":
            secret = self._unwrap(asked["CiphertextBlob"], asked.get("SourceEncryptionContext", {}))
            reply["KeyId"] = reply["SourceKeyId"] = asked["DestinationKeyId"]
            reply["CiphertextBlob"] = self._wrap(secret, asked.get("DestinationEncryptionContext", {}))
        elif operation in ("GenerateDataKey", "GenerateDataKeyWithoutPlaintext"):
            key = os.urandom(asked.get("NumberOfBytes", 32))
            reply["CiphertextBlob"] = self._wrap(key, context)
            if operation == "GenerateDataKey":
                reply["Plaintext"] = _text(key)
        else:
            raise NotImplementedError(operation)
        return reply

    def _wrap(self, secret: bytes, context: Mapping[str, str]) -> str:
        nonce = os.urandom(12)
        sealed = nonce + self._cipher.encrypt(nonce, secret, _bound(context))
        return _text(sealed + bytes(len(secret) + _LENGTH - len(sealed)))

    def _unwrap(self, ciphertext: str, context: Mapping[str, str]) -> bytes:
        blob = base64.b64decode(ciphertext)
        end = len(blob) - _LENGTH + 12 + 16
        return self._cipher.decrypt(blob[:12], blob[12:end], _bound(context))


def answering_client(service: str, answer: Any) -> BaseClient:
    """Return boto3's client of an AWS service with a JSON protocol, answered by ``answer(operation, fields)``."""
    session: Any = boto3.session.Session()  # whose types want the service's name as a literal
    client = session.client(service, region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")

    def handle(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        target = request.headers["X-Amz-Target"]
        operation = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
        body: Any = request.body or b"{}"
        said = json.dumps(answer(operation, json.loads(body))).encode()
        headers = HTTPHeaders.from_dict({"Content-Type": "application/x-amz-json-1.1"})
        return AWSResponse(request.url, 200, headers, _Body(said))

    client.meta.events.register(f"before-send.{service}", handle)
    assert isinstance(client, BaseClient)
    return client


class _Body(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        """Give all that is left, as urllib3's response does."""
        yield self.read()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bound(context: Mapping[str, str]) -> bytes:
    return hashlib.sha256(json.dumps(context, sort_keys=True).encode()).digest()
