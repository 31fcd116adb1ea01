"""The choice of a login, by the option ``auth`` and what stands beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_value
from envelope_codec_vault._agent import Agent
from envelope_codec_vault._cloud import Aws, Azure, Gcp
from envelope_codec_vault._environment import read_variable
from envelope_codec_vault._key_id import check_path
from envelope_codec_vault._login import AppRole, Certificate, GivenToken, JwtFile, Kubernetes, Login, TokenFile, digest
from envelope_codec_vault._secret_file import SecretFile, is_credential

TOKEN_FILE = "~/.vault-token"  # noqa: S105 - the path where `vault login` leaves its token
JWT_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/token"

AZURE_RESOURCE = "https://management.azure.com/"

_SETTINGS_OF = {
    "token": ("token",),
    "token-file": ("token_file",),
    "approle": ("role_id", "secret_id", "secret_id_file", "auth_mount"),
    "kubernetes": ("role", "jwt_file", "auth_mount"),
    "jwt": ("role", "jwt_file", "auth_mount"),
    "cert": ("role", "client_cert", "client_key", "auth_mount"),
    "aws": ("role", "aws_server_id", "auth_mount"),
    "gcp": ("role", "gcp_service_account", "auth_mount"),
    "azure": ("role", "azure_resource", "azure_instance", "auth_mount"),
    "agent": (),
}
_METHODS = tuple(_SETTINGS_OF)
_ANYWHERE = ("client_cert", "client_key")
"""What TLS takes with any login."""
_SDKS = {"aws": ("botocore", "aws"), "gcp": ("google.auth", "gcp"), "azure": ("azure.identity", "azure")}


def choose_login(auth: str | None, settings: Mapping[str, str | None]) -> Login:
    """Choose the way to log in that the settings ask for.

    Args:
        auth: a method, such as ``approle``, or None: then a token or token file that the settings
            name, else VAULT_TOKEN, else ``~/.vault-token``.
        settings: by name; None if not set.

    Raises:
        ConfigurationError: one is missing, or set and of no use with this ``auth``.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if auth is None:
        auth = _auth_of(given)
    if auth not in _METHODS:
        raise ConfigurationError(f"Vault setting auth={show_value(auth)} is unknown (known: {', '.join(_METHODS)})")
    for name in given:
        if name not in _SETTINGS_OF[auth] and name not in _ANYWHERE:
            takes = ", ".join(_SETTINGS_OF[auth]) or "none"
            raise ConfigurationError(f"Vault setting {name} is of no use with auth={auth}, which takes {takes}")
    return _BUILDERS[auth](given)


def _auth_of(given: Mapping[str, str]) -> str:
    if foreign := [name for name in given if name not in ("token", "token_file", *_ANYWHERE)]:
        raise ConfigurationError(
            f"Vault setting {foreign[0]} needs auth=… beside it, such as auth=approle or auth=kubernetes"
        )
    if "token_file" in given:
        return "token-file"
    return "token" if "token" in given or read_variable("TOKEN") else "token-file"


def _given_token(given: Mapping[str, str]) -> Login:
    token = given.get("token") or read_variable("TOKEN")
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
            "or choose a login, such as auth=approle, auth=kubernetes or auth=agent"
        ) from None


def _approle(given: Mapping[str, str]) -> Login:
    role_id = _needed("role_id", given, "approle")
    mount = _mount(given, "approle")
    if "secret_id_file" in given:
        if "secret_id" in given:
            raise ConfigurationError("Vault settings secret_id and secret_id_file exclude each other")
        file = SecretFile(given["secret_id_file"], "secret_id_file")
        return AppRole(role_id, file.read, mount, file.path)
    secret_id = given.get("secret_id") or read_variable("SECRET_ID")
    if not secret_id:
        raise ConfigurationError(
            "Vault auth=approle needs a secret id: name a secret_id_file, set VAULT_SECRET_ID or pass secret_id=…"
        )
    secret_id = _credential("secret_id", secret_id)
    return AppRole(role_id, lambda: secret_id, mount, digest(secret_id))


def _kubernetes(given: Mapping[str, str]) -> Login:
    role = _needed("role", given, "kubernetes")
    return Kubernetes(role, SecretFile(given.get("jwt_file", JWT_FILE), "jwt_file"), _mount(given, "kubernetes"))


def _jwt(given: Mapping[str, str]) -> Login:
    role, file = _needed("role", given, "jwt"), _needed("jwt_file", given, "jwt")
    return JwtFile(role, SecretFile(file, "jwt_file"), _mount(given, "jwt"))


def _cert(given: Mapping[str, str]) -> Login:
    path = given.get("client_cert") or (None if "client_key" in given else read_variable("CLIENT_CERT"))
    if not path:
        raise ConfigurationError("Vault auth=cert needs client_cert, or VAULT_CLIENT_CERT")
    return Certificate(given.get("role", ""), os.path.expanduser(path), _mount(given, "cert"))  # noqa: PTH111


def _aws(given: Mapping[str, str]) -> Login:
    server_id = given.get("aws_server_id", "")
    if server_id:
        _credential("aws_server_id", server_id)
    _sdk("aws")
    return Aws(_needed("role", given, "aws"), _mount(given, "aws"), server_id)


def _gcp(given: Mapping[str, str]) -> Login:
    account = given.get("gcp_service_account", "")
    if account:
        check_path("gcp_service_account", account)
        if "/" in account or "?" in account or "#" in account or "@" not in account:
            raise ConfigurationError("Vault setting gcp_service_account must be the email of a service account")
        _sdk("gcp")
    return Gcp(_needed("role", given, "gcp"), _mount(given, "gcp"), account)


def _azure(given: Mapping[str, str]) -> Login:
    instance = given.get("azure_instance", "metadata")
    if instance not in ("metadata", "none"):
        raise ConfigurationError(f"Vault setting azure_instance={show_value(instance)} must be metadata or none")
    resource = given.get("azure_resource", AZURE_RESOURCE)
    role, mount = _needed("role", given, "azure"), _mount(given, "azure")
    _sdk("azure")
    return Azure(role, mount, resource, instance == "metadata")


def _sdk(auth: str) -> None:
    module, extra = _SDKS[auth]
    try:
        found = find_spec(module) is not None
    except ImportError:  # of the package above it
        found = False
    if not found:
        raise ConfigurationError(
            f"Vault auth={auth} needs a package more: pip install 'temporal-envelope-codec[{extra},vault]'"
        )


_BUILDERS: dict[str, Callable[[Mapping[str, str]], Login]] = {
    "token": _given_token,
    "token-file": _token_file,
    "approle": _approle,
    "kubernetes": _kubernetes,
    "jwt": _jwt,
    "cert": _cert,
    "aws": _aws,
    "gcp": _gcp,
    "azure": _azure,
    "agent": lambda _: Agent(),
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
