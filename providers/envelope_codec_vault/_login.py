"""The ways to come by a Vault token: given, from a file, by AppRole, JWT, Kubernetes or client certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import hvac

from envelope_codec.provider import Failed, Meaning
from envelope_codec_vault._hints import CREDENTIALS, LOGIN_FAILED, UNREADABLE
from envelope_codec_vault._life import Life, read_life
from envelope_codec_vault._refusal import APPROLE, UNLOCKED, Pace
from envelope_codec_vault._secret_file import SecretFile, is_credential


@dataclass(frozen=True)
class Grant:
    """A token.

    Attributes:
        token: its text.
        life: how long Vault lets it live; None if only Vault knows.
    """

    token: str = field(repr=False)
    life: Life | None = None


class Login(Protocol):
    """One way to come by a token.

    Attributes:
        asks: whether it asks Vault for a new one, and does not just have one.
        pace: how often a refused one is tried again.
        dead: what it means that Vault does not take the token, and there is no other.
        identity: equal for logins that come by the same token.
    """

    asks: bool
    pace: Pace
    dead: Meaning

    @property
    def identity(self) -> tuple[str, ...]: ...

    def credential(self) -> str:
        """Get what proves who asks, as it is now. Raises `Failed`: it can't be had."""
        ...

    def grant(self, client: hvac.Client, credential: str) -> Grant:
        """Ask for a token; ``client`` has none. Raises hvac's and requests' errors, and `Failed`."""
        ...

    def changed(self) -> bool:
        """Whether another token is known to be there already, so that `grant` is worth a call."""
        ...


class GivenToken:
    """A token that is given as it is."""

    asks = False
    pace = UNLOCKED
    dead = CREDENTIALS

    def __init__(self, token: str) -> None:
        self._token = token

    @property
    def identity(self) -> tuple[str, ...]:
        return ("token", digest(self._token))

    def credential(self) -> str:
        return self._token

    def grant(self, client: hvac.Client, credential: str) -> Grant:
        return Grant(credential)

    def changed(self) -> bool:
        return False


class TokenFile:
    """A token in a file that somebody else replaces."""

    asks = False
    pace = UNLOCKED
    dead = CREDENTIALS

    def __init__(self, file: SecretFile) -> None:
        self._file = file

    @property
    def identity(self) -> tuple[str, ...]:
        return ("token-file", self._file.path)

    def credential(self) -> str:
        return self._file.read()

    def grant(self, client: hvac.Client, credential: str) -> Grant:
        return Grant(credential)

    def changed(self) -> bool:
        return self._file.changed()


class AppRole:
    """A login by AppRole: https://developer.hashicorp.com/vault/docs/auth/approle

    Args:
        role_id: the role.
        secret_id: reads the secret id as it is now.
        mount: of the auth method.
        source: where the secret id comes from; any text, but the same for the same.
    """

    asks = True
    pace = APPROLE
    dead = CREDENTIALS

    def __init__(self, role_id: str, secret_id: Callable[[], str], mount: str, source: str = "") -> None:
        self._role_id = role_id
        self._secret_id = secret_id
        self._mount = mount
        self._source = source

    @property
    def identity(self) -> tuple[str, ...]:
        return ("approle", self._mount, self._role_id, self._source)

    def credential(self) -> str:
        return self._secret_id()

    def grant(self, client: hvac.Client, credential: str) -> Grant:
        reply = client.auth.approle.login(self._role_id, credential, use_token=False, mount_point=self._mount)
        return granted(reply)

    def changed(self) -> bool:
        return False


class JwtFile:
    """A login by a JWT in a file: https://developer.hashicorp.com/vault/docs/auth/jwt

    The file is read at each login, because whoever issues the JWT replaces it.
    """

    asks = True
    pace = UNLOCKED
    dead = CREDENTIALS
    kind = "jwt"

    def __init__(self, role: str, jwt: SecretFile, mount: str) -> None:
        self._role = role
        self._jwt = jwt
        self._mount = mount

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self._mount, self._role, self._jwt.path)

    def credential(self) -> str:
        return self._jwt.read()

    def grant(self, client: hvac.Client, credential: str) -> Grant:
        return granted(client.auth.jwt.jwt_login(self._role, credential, use_token=False, path=self._mount))

    def changed(self) -> bool:
        return False


class Kubernetes(JwtFile):
    """A login by a service account, whose token Kubernetes replaces about every hour.

    https://developer.hashicorp.com/vault/docs/auth/kubernetes
    """

    kind = "kubernetes"

    def grant(self, client: hvac.Client, credential: str) -> Grant:
        reply = client.auth.kubernetes.login(self._role, credential, use_token=False, mount_point=self._mount)
        return granted(reply)


class Certificate:
    """A login by the client certificate of the TLS connection: https://developer.hashicorp.com/vault/docs/auth/cert

    Args:
        role: name of the role; empty lets Vault choose.
        path: file of the certificate, which is replaced by somebody else.
        mount: of the auth method.
    """

    asks = True
    pace = UNLOCKED
    dead = CREDENTIALS

    def __init__(self, role: str, path: str, mount: str) -> None:
        self._role = role
        self._path = Path(path)
        self._mount = mount

    @property
    def identity(self) -> tuple[str, ...]:
        return ("cert", self._mount, self._role, str(self._path))

    def credential(self) -> str:
        try:
            return hashlib.sha256(self._path.read_bytes()).hexdigest()
        except OSError:
            raise Failed(UNREADABLE) from None

    def grant(self, client: hvac.Client, credential: str) -> Grant:
        # A connection that is open shows the certificate that it was opened with. New ones read the file.
        client.session.close()
        # Not `client.auth.cert.login`: it takes no session's certificate, and no path of a CA.
        reply = client.adapter.login(
            f"/v1/auth/{self._mount}/login", use_token=False, json={"name": self._role} if self._role else {}
        )
        return granted(reply)

    def changed(self) -> bool:
        return False


def digest(secret: str) -> str:
    """Make a text that is the same for the same secret, and tells nothing of it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def granted(reply: Any) -> Grant:
    """Take the token out of a login's reply: https://developer.hashicorp.com/vault/api-docs/auth/approle#login-with-approle"""
    auth = reply.get("auth") if isinstance(reply, dict) else None
    token = auth.get("client_token") if isinstance(auth, dict) else None
    if not isinstance(auth, dict) or not isinstance(token, str) or not is_credential(token):
        raise Failed(LOGIN_FAILED)
    return Grant(token, read_life(auth))
