"""A KMS that gives no answer is an outage, and no refusal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from envelope_codec.errors import KmsUnavailable
from envelope_codec.kms import MasterKey
from envelope_codec.testing.conformance._checks import CONTEXT, SECRET, refused
from envelope_codec.testing.conformance._harness import Harness, has_network
from envelope_codec.testing.listeners import closed_port, resetting_port, silent_port

HARMS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "unreachable": closed_port,
    "slow": silent_port,
    "resetting": resetting_port,
}


class Network:
    """A KMS that gives no answer is an outage, and no refusal."""

    @pytest.mark.parametrize("harm", HARMS)
    def test_a_kms_that_gives_no_answer_is_unavailable(
        self, harness: Harness, uri: str, key: MasterKey, harm: str
    ) -> None:
        if not has_network(harness):
            pytest.skip("there is no server that could give no answer")
        wrapped = key.wrap(SECRET, CONTEXT)
        with HARMS[harm]() as address:
            cut_off = harness.open(uri, endpoint=address, read_timeout=0.2)
            unsaid = (uri, key.key_id, address)
            refused(KmsUnavailable, lambda: cut_off.unwrap(wrapped, CONTEXT), operation="unwrap", unsaid=unsaid)
            refused(KmsUnavailable, lambda: cut_off.wrap(SECRET, CONTEXT), operation="wrap", unsaid=unsaid)
            cut_off.close()
