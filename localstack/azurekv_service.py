"""The requests of the Azure Key Vault test server: who asks, what is asked, and the JSON that answers."""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from azurekv_client import CLIENT_ID, CLIENT_SECRET, TENANT
from azurekv_keys import Key, Refused, Store, Version

_CRYPTO = ("encrypt", "decrypt", "wrapkey", "unwrapkey", "sign", "verify")
_WORKS = {operation: operation.replace("key", "Key") for operation in _CRYPTO}
_ROUTES = (
    ("POST", r"/keys/(?P<name>[^/]+)/create", "create"),
    ("POST", r"/keys/(?P<name>[^/]+)/rotate", "rotate"),
    ("POST", rf"/keys/(?P<name>[^/]+)/(?P<version>[^/]*)/(?P<work>{'|'.join(_CRYPTO)})", "work"),
    ("PATCH", r"/keys/(?P<name>[^/]+)/(?P<version>[^/]*)", "update"),
    ("GET", r"/keys", "list"),
    ("GET", r"/keys/(?P<name>[^/]+)/versions", "versions"),
    ("GET", r"/keys/(?P<name>[^/]+)(?:/(?P<version>[^/]*))?", "get"),
    ("DELETE", r"/keys/(?P<name>[^/]+)", "delete"),
    ("GET", r"/deletedkeys/(?P<name>[^/]+)", "deleted"),
    ("POST", r"/deletedkeys/(?P<name>[^/]+)/recover", "recover"),
    ("DELETE", r"/deletedkeys/(?P<name>[^/]+)", "purge"),
)


@dataclass(frozen=True)
class Reply:
    """What goes back: status, body (JSON unless it is bytes) and headers."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Fault:
    """What is answered instead of the service's own reply.

    Attributes:
        work: the operation that it hits, such as ``unwrapkey`` or ``get``; ``token`` for the token service; ``""``
            for every operation.
        reply: the answer; None closes the connection without one.
        times: how often.
    """

    work: str
    reply: Reply | None
    times: int = 1


class KeyVault:
    """One vault, and the token service that it sends callers to.

    Args:
        store: its keys.
        host: the vault's name, which all key identifiers have.
        resource: whom a token must be for.

    Attributes:
        calls: what was asked, in order: operation, key name and version as they were given.
        faults: see `Fault`.
        denied: operations for which permission is missing.
        logins: number of requests to the token service.
        token_seconds: how long a token lives.
    """

    def __init__(self, store: Store, *, host: str, resource: str = "https://vault.azure.net") -> None:
        self.store = store
        self.host = host
        self.resource = resource
        self.calls: list[tuple[str, str, str]] = []
        self.faults: list[Fault] = []
        self.denied: set[str] = set()
        self.logins = 0
        self.token_seconds = 3600
        self._tokens: dict[str, float] = {}
        self._lock = threading.Lock()

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes, origin: str) -> Reply | None:
        """The reply to one request; None if the connection is to be closed without one.

        Args:
            method, target, headers, body: the request.
            origin: ``https://HOST:PORT`` of this server, where the token service is, too.
        """
        parts = urlsplit(target)
        if parts.path.startswith(f"/{TENANT}/"):
            return self._tell(parts.path.removeprefix(f"/{TENANT}"), body, origin)
        try:
            return self._serve(method, parts.path.rstrip("/"), parts.query, headers, body)
        except Unauthorized as error:
            challenge = f'Bearer authorization="{origin}/{TENANT}", resource="{self.resource}"'
            return Reply(401, _error("Unauthorized", str(error)), {"WWW-Authenticate": challenge})
        except Refused as refused:
            return Reply(refused.status, _error(refused.code, refused.text, refused.inner))

    def issue_token(self) -> str:
        """Make a token that is taken from now on."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._tokens[token] = time.time() + self.token_seconds
        return token

    def forget_tokens(self) -> None:
        """Take no token any longer that was given until now."""
        with self._lock:
            self._tokens.clear()

    def _serve(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Reply | None:
        self._authenticate(headers)
        name, parts = _route(method, path)
        work = parts.get("work", name)
        with self._lock:
            self.calls.append((work, parts.get("name", ""), parts.get("version", "")))
        fault = self._fault(work)
        if fault is not None:
            return fault.reply
        if work in self.denied:
            text = f"Caller is not authorized to perform action on resource.\r\nAction: '{work}'"
            raise Refused(403, "Forbidden", text, "ForbiddenByRbac")
        if "api-version" not in parse_qs(query):
            raise Refused(400, "BadParameter", "Query parameter api-version is required.")
        request = _parsed(body)
        changes = name not in ("work", "list", "versions", "get", "deleted")
        with self.store.open(change=changes):
            reply: Reply = getattr(self, f"_{name}")(parts, request)
        return reply

    def _authenticate(self, headers: Mapping[str, str]) -> None:
        """https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses"""
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            raise Unauthorized("AKV10000: Request is missing a Bearer or PoP token.")
        with self._lock:
            if self._tokens.get(token, 0.0) < time.time():
                raise Unauthorized("[BearerReadAccessTokenFailed] Error validating token: 'S2S12005'.")

    def _fault(self, work: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.work in ("", work) and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    # Keys

    def _create(self, parts: Mapping[str, str], request: Mapping[str, Any]) -> Reply:
        return self._bundle(*self.store.create(parts["name"], request))

    def _rotate(self, parts: Mapping[str, str], request: Mapping[str, Any]) -> Reply:
        return self._bundle(*self.store.rotate(parts["name"]))

    def _get(self, parts: Mapping[str, str], request: Mapping[str, Any]) -> Reply:
        key = self.store.key(parts["name"])
        return self._bundle(key, key.version(parts["version"]))

    def _list(self, parts: Mapping[str, str], request: Mapping[str, Any]) -> Reply:
        keys = [self.store.key(name) for name in self.store.names()]
        return Reply(200, {"value": [self._item(key, key.versions[-1], versioned=False) for key in keys]})

    def _versions(self, parts: Mapping[str, str], request: Mapping[str, Any]) -> Reply:
        key = self.store.key(parts["name"])
        return Reply(200, {"value": [self._item(key, version, versioned=True) for version in key.versions]})

    def _update(self, parts: Mapping[str, str], request: Mapping[str, Any]) -> Reply:
        key = self.store.key(parts["name"])
        version = key.version(parts["version"])
        attributes = request.get("attributes") or {}
        version.enabled = bool(attributes.get("enabled", version.enabled))
        version.expires = attributes.get("exp", version.expires)
        version.not_before = attributes.get("nbf", version.not_before)
        version.operations = list(request.get("key_ops") or version.operations)
        return self._bundle(key, version)

    def _delete(self, parts: Mapping[str, str], request: Mapping[str, Any]) -> Reply:
        return self._deletion(self.store.delete(parts["name"]))

    def _deleted(self, parts: Mapping[str, str], request: Mapping[str, Any]) -> Reply:
        return self._deletion(self.store.key(parts["name"], deleted=True))

    def _recover(self, parts: Mapping[str, str], request: Mapping[str, Any]) -> Reply:
        key = self.store.recover(parts["name"])
        return self._bundle(key, key.versions[-1])

    def _purge(self, parts: Mapping[str, str], request: Mapping[str, Any]) -> Reply:
        self.store.purge(parts["name"])
        return Reply(204)

    def _work(self, parts: Mapping[str, str], request: Mapping[str, Any]) -> Reply:
        key = self.store.key(parts["name"])
        version = key.version(parts["version"])
        done = version.perform(_WORKS[parts["work"]], str(request.get("alg", "")), request)
        return Reply(200, done if parts["work"] == "verify" else {"kid": self._kid(key, version), **done})

    def _kid(self, key: Key, version: Version) -> str:
        return f"https://{self.host}/keys/{key.name}/{version.id}"

    def _item(self, key: Key, version: Version, *, versioned: bool) -> dict[str, object]:
        kid = self._kid(key, version)
        return {"kid": kid if versioned else kid.rpartition("/")[0], "attributes": _attributes(version)}

    def _json(self, key: Key, version: Version) -> dict[str, object]:
        jwk = {"kid": self._kid(key, version), "kty": version.kty, "key_ops": version.operations, **version.public()}
        return {"key": jwk, "attributes": _attributes(version)}

    def _bundle(self, key: Key, version: Version) -> Reply:
        return Reply(200, self._json(key, version))

    def _deletion(self, key: Key) -> Reply:
        deleted = key.deleted or 0
        return Reply(
            200,
            {
                **self._json(key, key.versions[-1]),
                "recoveryId": f"https://{self.host}/deletedkeys/{key.name}",
                "deletedDate": deleted,
                "scheduledPurgeDate": deleted + 90 * 24 * 3600,
            },
        )

    # The token service

    def _tell(self, path: str, body: bytes, origin: str) -> Reply | None:
        """OpenID Connect discovery, and OAuth 2.0 client credentials, as Microsoft Entra ID has them."""
        if path == "/v2.0/.well-known/openid-configuration":
            base = f"{origin}/{TENANT}"
            endpoints = {"authorization_endpoint": "oauth2/v2.0/authorize", "token_endpoint": "oauth2/v2.0/token"}
            urls = {name: f"{base}/{place}" for name, place in endpoints.items()}
            return Reply(200, {**urls, "issuer": f"{base}/v2.0"})
        if path != "/oauth2/v2.0/token":
            return Reply(404, {"error": "not_found"})
        with self._lock:
            self.logins += 1
        fault = self._fault("token")
        if fault is not None:
            return fault.reply
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if form.get("client_id") != CLIENT_ID or form.get("client_secret") != CLIENT_SECRET:
            text = "AADSTS7000215: Invalid client secret provided."
            return Reply(401, {"error": "invalid_client", "error_description": text, "error_codes": [7000215]})
        said = {"token_type": "Bearer", "expires_in": self.token_seconds, "access_token": self.issue_token()}
        return Reply(200, said)


def _route(method: str, path: str) -> tuple[str, Mapping[str, str]]:
    for wanted, pattern, name in _ROUTES:
        if method == wanted and (match := re.fullmatch(pattern, path)):
            return name, {part: unquote(text or "") for part, text in match.groupdict().items()}
    raise Refused(404, "NotFound", "The requested resource was not found.")


class Unauthorized(Exception):
    """The caller is not known."""


def _attributes(version: Version) -> dict[str, object]:
    dates = {"nbf": version.not_before, "exp": version.expires}
    return {
        "enabled": version.enabled,
        "created": version.created,
        "updated": version.created,
        "recoveryLevel": "Recoverable",
        "recoverableDays": 90,
        **{name: date for name, date in dates.items() if date is not None},
    }


def _error(code: str, text: str, inner: str | None = None) -> dict[str, object]:
    error: dict[str, object] = {"code": code, "message": text}
    if inner is not None:
        error["innererror"] = {"code": inner}
    return {"error": error}


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(body or b"{}")
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise Refused(400, "BadParameter", "Request body not specified or not JSON.")
    return parsed
