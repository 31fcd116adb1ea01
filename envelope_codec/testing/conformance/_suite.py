"""The suite as one class, and the fixtures of its tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest

from envelope_codec.kms import MasterKey
from envelope_codec.testing._made import make
from envelope_codec.testing.conformance._ciphertexts import Ciphertexts
from envelope_codec.testing.conformance._closing import Closing
from envelope_codec.testing.conformance._contexts import Contexts
from envelope_codec.testing.conformance._harness import Harness, deviation
from envelope_codec.testing.conformance._key_ids import KeyIds
from envelope_codec.testing.conformance._life import Life
from envelope_codec.testing.conformance._network import Network
from envelope_codec.testing.conformance._round_trips import RoundTrips


class ProviderConformance(RoundTrips, KeyIds, Contexts, Ciphertexts, Life, Network, Closing):
    """Every test of a provider. Give a subclass, whose name begins with ``Test``, a ``harness_class``.

    Attributes:
        harness_class: makes the `Harness`; its parameters name fixtures.
    """

    harness_class: ClassVar[Callable[..., Harness]]

    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, request: pytest.FixtureRequest) -> Iterator[Harness]:
        """The harness, one for the whole class."""
        made = make(cls.harness_class, request)
        yield made
        getattr(made, "close", lambda: None)()

    @pytest.fixture(autouse=True)
    def _expect_deviations(self, harness: Harness, request: pytest.FixtureRequest) -> None:
        reason = deviation(harness, getattr(request.node, "originalname", ""))
        if reason:
            request.applymarker(pytest.mark.xfail(reason=reason, raises=pytest.fail.Exception, strict=True))

    @pytest.fixture
    def uri(self, harness: Harness) -> str:
        """The key URI of a key that nothing else uses."""
        return harness.create_key()

    @pytest.fixture
    def key(self, harness: Harness, uri: str) -> Iterator[MasterKey]:
        """The master key of ``uri``."""
        key = harness.open(uri)
        yield key
        key.close()

    @pytest.fixture
    def foreign(self, harness: Harness) -> Iterator[MasterKey]:
        """Another master key."""
        key = harness.open(harness.create_key())
        yield key
        key.close()
