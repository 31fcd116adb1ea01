"""`VaultTransit`: a master key in Vault's Transit engine."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from typing import Any

import hvac

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import Unwrapped, WrappedSecret
from envelope_codec.provider import (
    Failed,
    asks_kms,
    check_no_options,
    choose,
    frameless,
    meanings,
    parse_options,
)
from envelope_codec_vault import _hints as hints
from envelope_codec_vault._ask import Question, ask
from envelope_codec_vault._auth import choose_login
from envelope_codec_vault._endpoint import choose_endpoint
from envelope_codec_vault._environment import warn_of_ignored
from envelope_codec_vault._errors import UNWRAP, WRAP
from envelope_codec_vault._facts import FACTS
from envelope_codec_vault._key_id import DEFAULT_MOUNT, TransitKey, login_namespace
from envelope_codec_vault._notices import find_notices
from envelope_codec_vault._options import check_no_secret
from envelope_codec_vault._session import Sessions, hold
from envelope_codec_vault._shared import share
from envelope_codec_vault._transit import decrypting, encrypting
from envelope_codec_vault._wire import decode, get_text, read_version

_log = logging.getLogger("envelope_codec.vault")


class VaultTransit:
    """A `MasterKey` in the Transit engine of HashiCorp Vault or OpenBao.

    Vault must be 1.13 or later: older ones ignore associated data without a word, and the context would not be bound.
    The key must be of an AEAD type (aes256-gcm96, which is Vault's default; aes128-gcm96; chacha20-poly1305;
    xchacha20-poly1305) and not derived.

    The token's policies need ``update`` on ``MOUNT/encrypt/KEY`` and ``MOUNT/decrypt/KEY``, and nothing else. With
    ``create`` too, Vault makes a key of whatever name it is asked to encrypt with; never for a request from here.

    Connections are opened, and logins made, at the first call in each process. When Vault refuses a call, the token is
    looked up: if Vault does not know it, there is one new login and one more try; if it is good, permission is missing.
    A login that fails is no answer (`KmsUnavailable`) and no refusal of the key. One that Vault refused is remembered,
    until the credential is another: each try counts towards the lock of a role. To take a key away at once, withdraw
    the permission or delete the key; revoking credentials alone leaves cached keys in use for the outage grace.

    Redirects are followed to the same scheme, host and port only. Proxies are those of the environment.

    Args:
        key: name of the key.
        mount, namespace, cluster: see `TransitKey`; parts of the key id. The namespace is never taken from the
            environment: one key URI is one key, wherever it is read. VAULT_NAMESPACE is warned of.
        client: a client that is logged in, with its own address, namespace, time-outs (hvac's default is 30 s) and
            redirects; it is never closed or logged in here. It excludes all of the arguments below.
        endpoint: URL of Vault; else VAULT_ADDR. For each variable of Vault's tools here, OpenBao's twin counts where it
            is not set: BAO_ADDR and so on.
        auth: ``token``, ``token-file``, ``approle``, ``kubernetes``, ``jwt``, ``cert``, ``aws``, ``gcp``, ``azure``, or
            ``agent``: a Vault Agent or Proxy adds its token, and this process has none. By default a token or
            token_file given here, else VAULT_TOKEN, else ``~/.vault-token``.
        token: for ``token``; else VAULT_TOKEN.
        token_file: for ``token-file``; read again when it changes, and when Vault takes its token no longer.
        role_id, secret_id, secret_id_file: for ``approle``; the secret id may be in VAULT_SECRET_ID.
        role: of the login, for the methods that have roles.
        jwt_file: for ``jwt`` and ``kubernetes``, where it defaults to where Kubernetes mounts the service account's
            token; read at each login.
        auth_mount: where the method is mounted, below ``auth/``.
        auth_namespace: of the login and its token; else the key's own. ``root`` is the root namespace.
        aws_server_id: for ``aws``, the header that Vault asks for.
        gcp_service_account: for ``gcp``, who signs; else the machine's own identity is sent.
        azure_resource, azure_instance: for ``azure``; what the token is for, and ``none`` to send no machine's names.
        client_cert, client_key: files, for mutual TLS and ``cert``; else VAULT_CLIENT_CERT and VAULT_CLIENT_KEY.
        tls_server_name: the name in Vault's certificate; else VAULT_TLS_SERVER_NAME, else that of the address.
        ca_bundle: file or folder of CA certificates; else VAULT_CACERT or VAULT_CAPATH, else the system's.
        connect_timeout: seconds, default 2.
        read_timeout: seconds between two reads, default 5.
        address: an earlier name of ``endpoint``.

    A token is renewed in the background at two thirds of its life, and keys that log in alike share it.

    Raises:
        ConfigurationError: a setting is wrong, missing, or of no use with the others.
    """

    @frameless
    def __init__(
        self,
        key: str,
        *,
        mount: str = DEFAULT_MOUNT,
        namespace: str = "",
        cluster: str = "",
        client: hvac.Client | None = None,
        endpoint: str | None = None,
        auth: str | None = None,
        token: str | None = None,
        token_file: str | None = None,
        role: str | None = None,
        role_id: str | None = None,
        secret_id: str | None = None,
        secret_id_file: str | None = None,
        auth_mount: str | None = None,
        jwt_file: str | None = None,
        auth_namespace: str | None = None,
        aws_server_id: str | None = None,
        gcp_service_account: str | None = None,
        azure_resource: str | None = None,
        azure_instance: str | None = None,
        client_cert: str | None = None,
        client_key: str | None = None,
        tls_server_name: str | None = None,
        ca_bundle: str | None = None,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        address: str | None = None,
    ) -> None:
        self._key = TransitKey(key, mount, namespace, cluster)
        self._key_id = self._key.id
        url = choose("endpoint", endpoint, "address", address)
        credentials = {
            "token": token,
            "token_file": token_file,
            "role": role,
            "role_id": role_id,
            "secret_id": secret_id,
            "secret_id_file": secret_id_file,
            "auth_mount": auth_mount,
            "jwt_file": jwt_file,
            "aws_server_id": aws_server_id,
            "gcp_service_account": gcp_service_account,
            "azure_resource": azure_resource,
            "azure_instance": azure_instance,
            "client_cert": client_cert,
            "client_key": client_key,
        }
        self._through_agent = auth == "agent"
        if client is not None:
            times = {"connect_timeout": connect_timeout, "read_timeout": read_timeout}
            ways = {"auth_namespace": auth_namespace, "tls_server_name": tls_server_name}
            check_no_options({"endpoint": url, "auth": auth, "ca_bundle": ca_bundle, **ways, **times, **credentials})
            self._process = hold(client, namespace)
            return
        login = choose_login(auth, credentials)
        where = choose_endpoint(
            url=url,
            namespace=login_namespace(auth_namespace, namespace),
            ca_bundle=ca_bundle,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            client_cert=client_cert,
            client_key=client_key,
            tls_server_name=tls_server_name,
            through_agent=self._through_agent,
        )
        if where.is_exposed:
            _log.warning("Vault address %s is plain http: tokens and secrets can be read on the way", where.address)
        warn_of_ignored(namespace, through_agent=self._through_agent)
        self._process = share(where, login)
        weakref.finalize(self, self._process.close).atexit = False

    @classmethod
    @frameless
    def from_uri(
        cls, uri: str, /, *, client: hvac.Client | None = None, token: str | None = None, secret_id: str | None = None
    ) -> VaultTransit:
        """Make the master key of ``hashivault://KEY?option=value``; options are the constructor's arguments.

        A key URI never holds a token or a secret id: those come from the environment, from files, or as arguments.
        """
        check_no_secret(uri)
        parsed, options = parse_options(uri, FACTS)
        if parsed.path:
            raise ConfigurationError(
                f"key URI {parsed.shown!r} must hold a key name and no path: hashivault://KEY?mount=transit"
            )
        return cls(parsed.authority, client=client, token=token, secret_id=secret_id, **options)

    def __repr__(self) -> str:
        return f"VaultTransit({self._key_id!r})"

    @property
    def key_id(self) -> str:
        """``hashivault://KEY?cluster=LABEL&mount=M&namespace=N``: this order, empty ones left out."""
        return self._key_id

    def accepts(self, key_id: str) -> bool:
        """Whether ``key_id`` is this key's own, letter by letter."""
        return key_id == self._key_id

    @asks_kms("wrap")
    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        """Encrypt under the key's latest version, which becomes the key version; the ciphertext is Vault's text.

        https://developer.hashicorp.com/vault/api-docs/secret/transit#encrypt-data
        """
        reply = self._ask(WRAP, encrypting(self._key, secret, context))
        ciphertext = get_text(reply, "ciphertext")
        version = read_version(ciphertext)
        if version is None:
            raise Failed(meanings.NO_ANSWER)
        return WrappedSecret(self._key_id, version, ciphertext.encode("ascii"))

    @asks_kms("unwrap")
    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        """Decrypt with the version that the ciphertext names, which must be the recorded one, and is proved by success.

        https://developer.hashicorp.com/vault/api-docs/secret/transit#decrypt-data
        """
        ciphertext = wrapped.ciphertext.decode("ascii", errors="replace")
        version = read_version(ciphertext)
        if version is None:
            raise Failed(hints.NO_CIPHERTEXT)
        if version != wrapped.key_version:
            raise Failed(hints.OTHER_VERSION)
        reply = self._ask(UNWRAP, decrypting(self._key, ciphertext, context))
        secret = decode(get_text(reply, "plaintext"))
        if secret is None:
            raise Failed(meanings.NO_ANSWER)
        return Unwrapped(secret, version)

    def close(self) -> None:
        """Give the connections and the login back. Final: a later call gets `KmsUnavailable`."""
        self._process.close()

    def notices(self) -> list[tuple[str, str]]:
        """Tell what will become trouble, and what to do about it. Asks Vault how long the token lives.

        Nothing if Vault can't be asked: calls tell that.
        """
        return find_notices(self._key, self._sessions, through_agent=self._through_agent)

    def _ask(self, operation: str, question: Question) -> Any:
        path = f"{self._key.mount}/{'encrypt' if operation == WRAP else 'decrypt'}/{self._key.name}"
        return ask(self._sessions(), self._key.namespace, operation, path, question)

    def _sessions(self) -> Sessions:
        """Get the sessions of this process. Raises `Failed`: the master key is closed."""
        return self._process.get()
