"""The provider passes the suite that every provider has to pass."""

from __future__ import annotations

import uuid

from acme_kms import AcmeKms
from acme_server import AcmeServer

from envelope_codec.kms import MasterKey, master_key
from envelope_codec.testing.conformance import ProviderConformance


class AcmeHarness:
    """Keys on a server of their own."""

    tells_versions = True

    def __init__(self) -> None:
        self._server = AcmeServer()

    def create_key(self) -> str:
        name = f"key-{uuid.uuid4()}"
        self._server.create_key(name)
        return f"acmekms://{name}?endpoint={self._server.endpoint}"

    def open(self, uri: str, *, endpoint: str | None = None, read_timeout: float | None = None) -> MasterKey:
        if endpoint is None:
            return master_key(uri)
        return AcmeKms(_name(uri), endpoint=f"http://{endpoint}", read_timeout=read_timeout)

    def rotate(self, uri: str) -> None:
        self._server.rotate(_name(uri))

    def disable(self, uri: str) -> None:
        self._server.status[_name(uri)] = 409

    def enable(self, uri: str) -> None:
        self._server.status[_name(uri)] = 200

    def schedule_deletion(self, uri: str) -> None:
        self._server.status[_name(uri)] = 410

    def close(self) -> None:
        self._server.close()


def _name(uri: str) -> str:
    return uri.removeprefix("acmekms://").partition("?")[0]


class TestAcmeKms(ProviderConformance):
    harness_class = AcmeHarness
