"""The two master keys, each on a KMS of its own that may be killed: it comes back with all versions of its key."""

from __future__ import annotations

import base64
import os
import signal
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import hvac
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from devstack import LocalStack, OpenBao, Server

from tests.support.kms_proxy import KmsProxy

AWS_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""For every process that asks the KMS: LocalStack takes any credentials."""


def kill(server: Server) -> None:
    """End a server's process without a warning to it."""
    os.killpg(server.pid, signal.SIGKILL)
    while server.exit_code is None:
        time.sleep(0.01)


class VaultKey:
    """A Transit key. The token of its users may encrypt and decrypt, unless that was taken away."""

    name = "vault"
    _token = "soak-0123456789abcdef"

    def __init__(self, server: OpenBao, folder: Path) -> None:
        self.server = server
        self._token_file = folder / "vault-token"
        self._token_file.write_text(self._token)
        self._token_file.chmod(0o600)
        self._root = hvac.Client(url=server.address, token=server.token)
        self._root.secrets.transit.create_key("soak", exportable=True, allow_plaintext_backup=True)
        self._back_up()
        self._let_in()

    def uri(self, address: str | None = None) -> str:
        """The key URI, at this ``HOST:PORT`` or at the server's own."""
        options = {"cluster": "soak", "endpoint": f"http://{address}" if address else self.server.address}
        return f"hashivault://soak?{urlencode({**options, 'auth': 'token-file', 'token_file': str(self._token_file)})}"

    def revive(self, proxy: KmsProxy) -> None:
        """Bring a killed server back. Nobody is let through while it runs and has no key."""
        proxy.cut = True
        self.server.restart()
        self._root.secrets.transit.restore_key(self._backup, name="soak")
        self._let_in()
        proxy.cut = False

    def rotate(self) -> None:
        self._root.secrets.transit.rotate_key("soak")
        self._back_up()

    def revoke(self) -> None:
        self._root.sys.create_or_update_policy("soak", 'path "nothing" { capabilities = ["deny"] }')

    def permit(self) -> None:
        paths = [f'path "transit/{action}/soak" {{ capabilities = ["update"] }}' for action in ("encrypt", "decrypt")]
        self._root.sys.create_or_update_policy("soak", "\n".join(paths))

    def close(self) -> None:
        self._root.session.close()

    def _back_up(self) -> None:
        self._backup: str = self._root.secrets.transit.backup_key("soak")["data"]["backup"]

    def _let_in(self) -> None:
        self.permit()
        self._root.auth.token.create(id=self._token, policies=["soak"], ttl="24h")


class AwsKey:
    """A KMS key of LocalStack, which keeps nothing. So its material is made here, that of each rotation too."""

    name = "aws"
    _id = str(uuid.UUID(int=0x50A4))

    def __init__(self, server: LocalStack) -> None:
        self.server = server
        self._materials = [os.urandom(32)]
        self._kms: Any = boto3.client(
            "kms",
            region_name="us-east-1",
            endpoint_url=server.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        self._arn = self._create()

    def uri(self, address: str | None = None) -> str:
        """The key URI, at this ``HOST:PORT`` or at the server's own."""
        endpoint = f"http://{address}" if address else self.server.endpoint
        return f"awskms:///{self._arn}?{urlencode({'endpoint': endpoint})}"

    def revive(self, proxy: KmsProxy) -> None:
        """Bring a killed server back. Nobody is let through while it runs and has no key."""
        proxy.cut = True
        self.server.restart()
        self._create()
        for material in self._materials[1:]:
            self._rotate_to(material)
        proxy.cut = False

    def rotate(self) -> None:
        self._materials.append(os.urandom(32))
        self._rotate_to(self._materials[-1])

    def revoke(self) -> None:
        self._kms.disable_key(KeyId=self._id)

    def permit(self) -> None:
        self._kms.enable_key(KeyId=self._id)

    def close(self) -> None:
        self._kms.close()

    def _create(self) -> str:
        material = base64.b64encode(self._materials[0]).decode()
        tags = {"_custom_id_": self._id, "_custom_key_material_": material}
        made = self._kms.create_key(Tags=[{"TagKey": name, "TagValue": value} for name, value in tags.items()])
        arn: str = made["KeyMetadata"]["Arn"]
        return arn

    def _rotate_to(self, material: bytes) -> None:
        """Rotate, and put our material in the place of LocalStack's, by a way that Amazon's service does not have."""
        self._kms.rotate_key_on_demand(KeyId=self._id)
        helper = self._kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
        given = self._kms.get_parameters_for_import(
            KeyId=helper, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
        )
        public = load_der_public_key(given["PublicKey"])
        assert isinstance(public, RSAPublicKey)
        self._kms.import_key_material(
            KeyId=self._id,
            ImportToken=given["ImportToken"],
            EncryptedKeyMaterial=public.encrypt(material, OAEP(MGF1(SHA256()), SHA256(), None)),
            ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
        )
