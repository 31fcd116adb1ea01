"""How to come by a Vault token: given, from a file, by AppRole, or by a Kubernetes service account."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import hvac

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import shown_value
from envelope_codec_vault._environment import variable
from envelope_codec_vault._errors import LOGIN_FAILED, Failed
from envelope_codec_vault._key_id import check_path
from envelope_codec_vault._life import Life, life_of
from envelope_codec_vault._refusal import APPROLE, UNLOCKED, Pace
from envelope_codec_vault._secret_file import SecretFile, is_credential

TOKEN_FILE = "~/.vault-token"  # noqa: S105 - the path where `vault login` leaves its token
JWT_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/token"

_METHODS = ("token", "token-file", "approle", "kubernetes")
_SETTINGS_OF = {
    "token": ("token",),
    "token-file": ("token_file",),
    "approle": ("role_id", "secret_id", "secret_id_file", "auth_mount"),
    "kubernetes": ("role", "jwt_file", "auth_mount"),
}


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
        identity: equal for logins that come by the same token.
    """

    asks: bool
    pace: Pace

    @property
    def identity(self) -> tuple[str, ...]: ...

    def credential(self) -> str:
        """What proves who asks, as it is now. Raises `Failed`: it can't be had."""
        ...

    def grant(self, client: hvac.Client, credential: str) -> Grant:
        """Ask for a token; ``client`` has none. Raises hvac's and requests' errors, and `Failed`."""
        ...

    def changed(self) -> bool:
        """Whether another token is known to be there already, so that `grant` is worth a call."""
        ...


class GivenToken:
    asks = False
    pace = UNLOCKED

    def __init__(self, token: str) -> None:
        self._token = token

    @property
    def identity(self) -> tuple[str, ...]:
        return ("token", _digest(self._token))

    def credential(self) -> str:
        return self._token

    def grant(self, client: hvac.Client, credential: str) -> Grant:
        return Grant(credential)

    def changed(self) -> bool:
        return False


class TokenFile:
    asks = False
    pace = UNLOCKED

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
    """https://developer.hashicorp.com/vault/docs/auth/approle

    Args:
        role_id: the role.
        secret_id: reads the secret id as it is now.
        mount: of the auth method.
        source: where the secret id comes from; any text, but the same for the same.
    """

    asks = True
    pace = APPROLE

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
        return _granted(reply)

    def changed(self) -> bool:
        return False


class Kubernetes:
    """https://developer.hashicorp.com/vault/docs/auth/kubernetes

    The service-account token is read at each login, because Kubernetes replaces it about every hour.
    """

    asks = True
    pace = UNLOCKED

    def __init__(self, role: str, jwt: SecretFile, mount: str) -> None:
        self._role = role
        self._jwt = jwt
        self._mount = mount

    @property
    def identity(self) -> tuple[str, ...]:
        return ("kubernetes", self._mount, self._role, self._jwt.path)

    def credential(self) -> str:
        return self._jwt.read()

    def grant(self, client: hvac.Client, credential: str) -> Grant:
        reply = client.auth.kubernetes.login(self._role, credential, use_token=False, mount_point=self._mount)
        return _granted(reply)

    def changed(self) -> bool:
        return False


def choose_login(auth: str | None, settings: Mapping[str, str | None]) -> Login:
    """The way to log in that the settings ask for.

    Args:
        auth: one of ``token``, ``token-file``, ``approle``, ``kubernetes``, or None: then a token or token file that
            the settings name, else VAULT_TOKEN, else ``~/.vault-token``.
        settings: token, token_file, role, role_id, secret_id, secret_id_file, auth_mount, jwt_file; None if not set.

    Raises:
        ConfigurationError: one is missing, or set and of no use with this ``auth``.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if auth is None:
        auth = _auth_of(given)
    if auth not in _METHODS:
        raise ConfigurationError(f"Vault setting auth={shown_value(auth)} is unknown (known: {', '.join(_METHODS)})")
    for name in given:
        if name not in _SETTINGS_OF[auth]:
            raise ConfigurationError(
                f"Vault setting {name} is of no use with auth={auth}, which takes {', '.join(_SETTINGS_OF[auth])}"
            )
    return _BUILDERS[auth](given)


def _auth_of(given: Mapping[str, str]) -> str:
    if foreign := [name for name in given if name not in ("token", "token_file")]:
        raise ConfigurationError(f"Vault setting {foreign[0]} needs auth=approle or auth=kubernetes beside it")
    if "token_file" in given:
        return "token-file"
    return "token" if "token" in given or variable("TOKEN") else "token-file"


def _given_token(given: Mapping[str, str]) -> Login:
    token = given.get("token") or variable("TOKEN")
    if not token:
        raise ConfigurationError("Vault auth=token needs a token: set VAULT_TOKEN or pass token=…")
    return GivenToken(_credential("token", token))


def _token_file(given: Mapping[str, str]) -> Login:
    path = given.get("token_file")
    try:
        return TokenFile(SecretFile(path or TOKEN_FILE, "token_file"))
    except ConfigurationError as error:
        if path:
            raise
        raise ConfigurationError(
            f"{error.reason}; there is no other token either: set VAULT_TOKEN, name a token_file, "
            "or choose auth=approle or auth=kubernetes"
        ) from None


def _approle(given: Mapping[str, str]) -> Login:
    role_id = _needed("role_id", given, "approle")
    mount = _mount(given, "approle")
    if "secret_id_file" in given:
        if "secret_id" in given:
            raise ConfigurationError("Vault settings secret_id and secret_id_file exclude each other")
        file = SecretFile(given["secret_id_file"], "secret_id_file")
        return AppRole(role_id, file.read, mount, file.path)
    secret_id = given.get("secret_id") or variable("SECRET_ID")
    if not secret_id:
        raise ConfigurationError(
            "Vault auth=approle needs a secret id: name a secret_id_file, set VAULT_SECRET_ID or pass secret_id=…"
        )
    secret_id = _credential("secret_id", secret_id)
    return AppRole(role_id, lambda: secret_id, mount, _digest(secret_id))


def _kubernetes(given: Mapping[str, str]) -> Login:
    role = _needed("role", given, "kubernetes")
    return Kubernetes(role, SecretFile(given.get("jwt_file", JWT_FILE), "jwt_file"), _mount(given, "kubernetes"))


_BUILDERS: dict[str, Callable[[Mapping[str, str]], Login]] = {
    "token": _given_token,
    "token-file": _token_file,
    "approle": _approle,
    "kubernetes": _kubernetes,
}


def _needed(name: str, given: Mapping[str, str], auth: str) -> str:
    if not given.get(name):
        raise ConfigurationError(f"Vault auth={auth} needs {name}")
    return given[name]


def _mount(given: Mapping[str, str], default: str) -> str:
    mount = given.get("auth_mount", default)
    check_path("auth_mount", mount)
    return mount


def _credential(setting: str, value: str) -> str:
    if not isinstance(value, str) or not is_credential(value):
        raise ConfigurationError(f"Vault setting {setting} must be printable ASCII without spaces or line ends")
    return value


def _granted(reply: Any) -> Grant:
    """The token in a login's reply; https://developer.hashicorp.com/vault/api-docs/auth/approle#login-with-approle"""
    auth = reply.get("auth") if isinstance(reply, dict) else None
    token = auth.get("client_token") if isinstance(auth, dict) else None
    if not isinstance(auth, dict) or not isinstance(token, str) or not is_credential(token):
        raise Failed(LOGIN_FAILED)
    return Grant(token, life_of(auth))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
