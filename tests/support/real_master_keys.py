"""Master keys on real servers, and what those who administer them do: the harnesses of the conformance suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from devstack import TemporalServer

PROVIDERS = ("aws", "gcp", "vault", "local")


class RealKms:
    """The harness of each provider, made with its server when it is asked for first."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self._made: dict[str, Any] = {}

    def __getitem__(self, provider: str) -> Any:
        if provider not in self._made:
            self._made[provider] = self._harness(provider)
        return self._made[provider]

    def create_key(self, provider: str) -> str:
        """URI of a new master key."""
        uri: str = self[provider].create_key()
        return uri

    def key_id(self, uri: str) -> str:
        """As it stands in records."""
        schemes = {"awskms": "aws", "gcpkms": "gcp", "hashivault": "vault", "azurekv": "azure", "localfile": "local"}
        key = self[schemes[uri.partition("://")[0]]].open(uri)
        key.close()
        return str(key.key_id)

    def close(self) -> None:
        for harness in self._made.values():
            getattr(harness, "close", lambda: None)()

    def _harness(self, provider: str) -> Any:
        server = self._request.getfixturevalue
        if provider == "aws":
            from tests.support.harness_aws import AwsHarness

            return AwsHarness(server("localstack"))
        if provider == "gcp":
            from tests.support.harness_gcp import GcpHarness

            return GcpHarness(server("gcp_kms_server"))
        if provider == "vault":
            from tests.support.harness_vault import VaultHarness

            return VaultHarness(server("openbao"))
        if provider == "azure":
            from tests.support.harness_azure import AzureHarness

            return AzureHarness(server("azure_vault"))
        from tests.support.harness_local import LocalHarness

        return LocalHarness(server("tmp_path_factory"))


def real_kms(request: pytest.FixtureRequest) -> Iterator[RealKms]:
    """For a fixture of a test module: ``kms = pytest.fixture(scope="module")(real_kms)``."""
    made = RealKms(request)
    yield made
    made.close()


def quick_temporal(
    run_server: Callable[[TemporalServer], AbstractContextManager[TemporalServer]],
) -> Iterator[TemporalServer]:
    """For the fixture ``temporal_server`` of a test module: one that keeps nothing on disk, and is quick for that."""
    with run_server(TemporalServer(db=False)) as server:
        yield server
