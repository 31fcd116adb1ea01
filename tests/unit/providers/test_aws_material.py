"""The id of key material that AWS tells: the key version in records, and nothing that a lease relies on."""

from __future__ import annotations

import base64
import json
from typing import Any
from unittest.mock import Mock

import boto3
import pytest

from envelope_codec import EnvelopePlugin
from envelope_codec.envelope import Recipient
from envelope_codec.kms import WrappedSecret
from envelope_codec_aws import AwsKms

KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
CONTEXT = {"temporal-namespace": "default"}
FIRST, SECOND = "0a" * 32, "1b" * 32


class Replies:
    """Replies of AWS, in the place of a network: Encrypt tells no material, Decrypt and ReEncrypt do."""

    def __init__(self) -> None:
        self.material: object = FIRST
        self._wrapped: dict[str, tuple[str, object]] = {}
        self.client: Any = boto3.client(
            "kms", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        self.client.meta.events.register("before-call.kms", self._answer)

    def _answer(self, model: Any, params: Any, **_: object) -> Any:
        asked = json.loads(params["body"])
        if model.name == "Encrypt":
            blob = f"blob-{len(self._wrapped)}"
            self._wrapped[base64.b64encode(blob.encode()).decode()] = asked["Plaintext"], self.material
            return Mock(status_code=200), {"KeyId": KEY, "CiphertextBlob": blob.encode()}
        if model.name == "ReEncrypt":
            told = {"SourceKeyMaterialId": FIRST, "DestinationKeyMaterialId": self.material}
            return Mock(status_code=200), {"KeyId": KEY, "SourceKeyId": KEY, "CiphertextBlob": b"new", **told}
        plaintext, material = self._wrapped[asked["CiphertextBlob"]]
        told = {} if material is None else {"KeyMaterialId": material}
        return Mock(status_code=200), {"KeyId": KEY, "Plaintext": base64.b64decode(plaintext), **told}


@pytest.fixture(scope="module")
def made() -> Replies:
    return Replies()


@pytest.fixture
def replies(made: Replies) -> Replies:
    made.material = FIRST
    return made


def recipient_of(plugin: EnvelopePlugin) -> Recipient:
    key = plugin.keyring.try_sealing_key("default")
    assert key is not None
    (recipient,) = key.record.recipients
    return recipient


async def test_a_record_names_the_material_that_aws_tells_as_it_is_tried_out(replies: Replies) -> None:
    with EnvelopePlugin(AwsKms(KEY, client=replies.client)) as plugin:
        await plugin.keyring.prewarm("default", timeout=5)
        first = recipient_of(plugin)
        replies.material = SECOND
        await plugin.keyring.renew()
        second = recipient_of(plugin)
    assert [first.key_version, second.key_version] == [FIRST, SECOND]
    assert first.key_id == second.key_id == KEY


async def test_a_role_that_only_encrypts_is_not_told(replies: Replies) -> None:
    with EnvelopePlugin(AwsKms(KEY, client=replies.client), verify_wraps=False) as plugin:
        await plugin.keyring.prewarm("default", timeout=5)
        assert recipient_of(plugin).key_version == ""


@pytest.mark.parametrize("material", [None, "", "a" * 300, 7, f"{FIRST}\n", "line\nend"])
async def test_what_is_no_id_of_material_is_left_out(replies: Replies, material: object) -> None:
    replies.material = material
    with EnvelopePlugin(AwsKms(KEY, client=replies.client)) as plugin:
        await plugin.keyring.prewarm("default", timeout=5)
        assert recipient_of(plugin).key_version == ""


def test_a_success_stands_for_all_material(replies: Replies) -> None:
    key = AwsKms(KEY, client=replies.client)
    unwrapped = key.unwrap(key.wrap(bytes(32), CONTEXT), CONTEXT)
    assert (unwrapped.version, unwrapped.used_version) == ("", FIRST)


def test_what_is_re_encrypted_names_its_new_material(replies: Replies) -> None:
    key = AwsKms(KEY, client=replies.client)
    replies.material = SECOND
    assert key.rewrap_to(key, WrappedSecret(KEY, FIRST, b"old"), CONTEXT).key_version == SECOND
