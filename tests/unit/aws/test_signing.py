"""Errors while a request is signed are told from those of the service that is called."""

from __future__ import annotations

import boto3
import pytest

from envelope_codec.aws.credentials_error import CredentialsUnavailable
from envelope_codec.aws.signing import separate_signing, watch_signing


def test_only_what_comes_up_while_signing_is_of_credentials() -> None:
    client = boto3.client(
        "kms", region_name="us-east-1", aws_access_key_id="i", aws_secret_access_key="s", endpoint_url="http://x"
    )
    watch_signing(client)
    service = client.meta.service_model.service_id.hyphenize()

    def fail(*events: str) -> None:
        with separate_signing():
            for event in events:
                client.meta.events.emit(f"{event}.{service}")
            raise LookupError("a secret")

    with separate_signing():
        pass
    for events in ((), ("before-sign", "before-send")):
        with pytest.raises(LookupError):
            fail(*events)
    with pytest.raises(CredentialsUnavailable) as raised:
        fail("before-sign")
    assert "secret" not in f"{raised.value} {raised.value.said}"
