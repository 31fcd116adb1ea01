"""Real KMS processes as a test of outages needs them: with a key, and with a line to it that can be disturbed."""

from __future__ import annotations

import base64
import os
import signal
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import hvac
from devstack import LocalStack, OpenBao, Server

from envelope_codec.kms import MasterKey
from envelope_codec_vault import VaultTransit
from tests.support.harness_aws import AwsHarness
from tests.support.harness_gcp import GcpHarness
from tests.support.harness_vault import VaultHarness
from tests.support.kms_proxy import AWS_THROTTLES, VAULT_THROTTLES, KmsProxy

_HARNESSES: dict[str, type[Any]] = {"aws": AwsHarness, "vault": VaultHarness, "gcp": GcpHarness}
_THROTTLES = {"aws": AWS_THROTTLES, "vault": VAULT_THROTTLES, "gcp": None}


class Kms:
    """A KMS that other tests use as well, with a key of this test's own and a proxy before it.

    Attributes:
        name: ``aws``, ``vault`` or ``gcp``.
        server: the process.
        proxy: what `key` goes through.
        harness: changes the key.
        uri: of the key.
    """

    def __init__(self, name: str, server: Any) -> None:
        self.name = name
        self.server: Server = server
        self._stack = ExitStack()
        endpoint = (server.address if name == "vault" else server.endpoint).removeprefix("http://")
        self.proxy = self._stack.enter_context(KmsProxy(endpoint, _THROTTLES[name]).running())
        self.harness = _HARNESSES[name](server)
        if name != "gcp":
            self._stack.callback(self.harness.close)
        self.uri: str = self.harness.create_key()

    def key(self, *, patience: float = 5.0) -> MasterKey:
        """The master key, as a process of its own has it; waits so many seconds for a reply."""
        endpoint = f"http://{self.proxy.address}" if self.name == "vault" else self.proxy.address
        key: MasterKey = self.harness.open(self.uri, endpoint=endpoint, read_timeout=patience)
        self._stack.callback(key.close)
        return key

    def close(self) -> None:
        self._stack.close()


class Mortal(ABC):
    """A KMS of this test's own, and a key in it that comes back after it was killed.

    Attributes:
        name: ``aws`` or ``vault``.
        server: the process.
    """

    name: str

    def __init__(self, server: Server, address: str) -> None:
        self.server = server
        self._stack = ExitStack()
        # It lets nobody through while the process is there again and the key is not.
        self._proxy = self._stack.enter_context(KmsProxy(address).running())

    def key(self, *, patience: float = 5.0) -> MasterKey:
        """The master key, as a process of its own has it; waits so many seconds for a reply."""
        key = self._key(self._proxy.address, patience)
        self._stack.callback(key.close)
        return key

    def kill(self) -> None:
        """End the process without a warning to it."""
        os.killpg(self.server.pid, signal.SIGKILL)
        while self.server.exit_code is None:
            os.sched_yield()

    def revive(self) -> None:
        """Bring it back, with its key."""
        self._proxy.cut = True
        self.server.restart()
        self._restore()
        self._proxy.cut = False

    def close(self) -> None:
        self._stack.close()

    @abstractmethod
    def _key(self, address: str, patience: float) -> MasterKey: ...

    @abstractmethod
    def _restore(self) -> None: ...


class MortalAws(Mortal):
    name = "aws"

    def __init__(self, server: LocalStack) -> None:
        super().__init__(server, server.endpoint.removeprefix("http://"))
        self._harness = AwsHarness(server)
        self._stack.callback(self._harness.close)
        material = base64.b64encode(os.urandom(32)).decode()
        self._tags = {"_custom_id_": str(uuid.uuid4()), "_custom_key_material_": material}
        self._arn = self._create_key()

    def _key(self, address: str, patience: float) -> MasterKey:
        key: MasterKey = self._harness.open(self._harness.uri(self._arn), endpoint=address, read_timeout=patience)
        return key

    def _restore(self) -> None:
        assert self._create_key() == self._arn

    def _create_key(self) -> str:
        tags = [{"TagKey": name, "TagValue": value} for name, value in self._tags.items()]
        arn: str = self._harness.client().create_key(Tags=tags)["KeyMetadata"]["Arn"]
        return arn


class MortalVault(Mortal):
    name = "vault"

    def __init__(self, server: OpenBao) -> None:
        super().__init__(server, server.address.removeprefix("http://"))
        self._root = hvac.Client(url=server.address, token=server.token)
        self._stack.callback(self._root.session.close)
        self._root.secrets.transit.create_key("mortal", exportable=True, allow_plaintext_backup=True)
        self._backup: str = self._root.secrets.transit.backup_key("mortal")["data"]["backup"]

    def _key(self, address: str, patience: float) -> MasterKey:
        return VaultTransit("mortal", address=f"http://{address}", token=OpenBao.token, read_timeout=patience)

    def _restore(self) -> None:
        self._root.secrets.transit.restore_key(self._backup, name="mortal")


@contextmanager
def paused(server: Server) -> Iterator[None]:
    """Connections stay open, new ones are taken, and nothing is answered."""
    server.pause()
    try:
        yield
    finally:
        server.resume()
