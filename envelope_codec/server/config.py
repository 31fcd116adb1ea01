"""Settings of the codec server: the table ``[server]`` of ``envelope.toml``, or ``ENVELOPE_CODEC_SERVER_…``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from typing_extensions import Self

from envelope_codec._frames import frameless
from envelope_codec._grammar import Seconds
from envelope_codec.config import _from_text, read_toml
from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import shown_value
from envelope_codec.server.auth.issuer import Issuer
from envelope_codec.server.auth.rule import Rule
from envelope_codec.server.setting import Names, Patterns, Settings, Size, explain, suggest
from envelope_codec.server.web.address import Address

PREFIX = "ENVELOPE_CODEC_SERVER_"
_FILE = "ENVELOPE_CODEC_FILE"
_TABLE = "server"
_OFF = "off"
_PARTS: dict[str, type[BaseModel]] = {"auth": Issuer, "rules": Rule}


class ServerConfig(Settings):
    """Everything that can be set of the codec server. Durations are seconds, or texts such as ``"90s"``, ``"5m"``.

    Raises:
        ConfigurationError: a setting is wrong; the text names it, and the fix.
    """

    listen: Names = Field(
        ("127.0.0.1:8081",), min_length=1, description="`HOST:PORT`, or a list of such. `[::1]:8081` for IPv6."
    )
    url: str | None = Field(
        None,
        description="How browsers and the command line reach it, if not at `listen`. Shown to people.",
    )
    prefix: str = Field(
        "", description="Path that a proxy leaves in front of `/decode` and the others, such as `/codec`."
    )
    origins: Names = Field(
        (),
        description="Origins whose pages may use it, to the letter, such as `https://cloud.temporal.io`. `*`: any; on "
        "loopback only.",
    )
    auth: tuple[Issuer, ...] = Field((), description="Whose tokens are believed; see below.")
    rules: tuple[Rule, ...] = Field(
        (), description="Who may do what in which namespaces; see below. What no rule allows is refused."
    )
    peers: dict[str, Patterns] = Field(
        {},
        description="Namespace = namespaces, by name or pattern: who may read what the first sealed may also read what "
        "those sealed. For results of Nexus operations.",
    )
    allow_unauthenticated_network: bool = Field(
        False, description="Listen beyond loopback without `auth`: whoever reaches the server may read everything."
    )
    default_namespace: str | None = Field(
        None, min_length=1, description="Seals and opens for this namespace where a request names none."
    )
    strict: bool = Field(
        False, description="One payload that can't be opened fails its request, instead of coming back as it was."
    )
    storage: str | None = Field(
        None,
        pattern=r"^[\w.]+:[\w.]+$",
        description="What references to external storage lead to: `module:name` of an `ExternalStorage` or a "
        "`StorageDriver`, or of what makes one.",
    )
    tls_cert: str | None = Field(None, description="File with the certificate chain, in PEM: the server speaks https.")
    tls_key: str | None = Field(None, description="File with its private key. Both are read again when they change.")
    body_limit: Size = Field(16 * 2**20, description="The largest body.")
    max_payloads: int = Field(1_000, ge=1, description="How many payloads a request may have.")
    max_requests: int = Field(
        100,
        ge=1,
        description="How many requests are answered at once, once their bodies are there; others are told to wait.",
    )
    max_requests_per_caller: int = Field(
        16, ge=1, description="How many requests of one caller are under way, those counted whose bodies still come."
    )
    max_connections_per_address: int = Field(
        256, ge=1, description="How many connections one address may have open; of `trusted_proxies`, any number."
    )
    max_body_bytes: Size = Field(
        40 * 2**20, description="How large requests under way are together. See Budgets for the memory that this takes."
    )
    max_body_bytes_per_caller: Size = Field(24 * 2**20, description="And how large those of one caller are.")
    max_concurrent_kms: int = Field(
        32,
        ge=1,
        description="How many records wait for a KMS at once, up to 32, and how many references for a store.",
    )
    max_concurrent_kms_per_caller: int = Field(16, ge=1, description="And how many of one caller.")
    request_timeout: Seconds = Field(25.0, gt=0, description="A request waits so long for the KMS, in all.")
    body_timeout: Seconds = Field(30.0, gt=0, description="A client may take so long to send a body.")
    header_timeout: Seconds = Field(10.0, gt=0, description="And so long to send the head of a request.")
    rate_limit: str = Field(
        "600/minute",
        description='How many requests a caller may make, or `"10/second"`; each worker counts its own. `"off"`: any.',
    )
    address_rate_limit: str | None = Field(
        None,
        description="How many requests without a token that is believed may come from one address; as `rate_limit` if "
        "it is not set.",
    )
    refused_rate_limit: str = Field(
        "300/minute", description="How many records of one caller a KMS may refuse until it is asked about no others."
    )
    audit_file: str | None = Field(
        None, description="Where the audit lines go; standard output if it is not set. Opened again on SIGHUP."
    )
    metrics: Literal["loopback", "everyone", "off"] = Field(
        "loopback", description="Who gets `/metrics`: callers on this machine, everyone, or nobody."
    )
    hosts: Names = Field(
        (),
        description="Names by which it is reached, beside that in `url`: to others, `/` and `/metrics` say nothing.",
    )
    trusted_proxies: Names = Field(
        (),
        description="Addresses of proxies, or networks, whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.",
    )
    workers: int = Field(1, ge=1, le=64, description="Processes, each with its own keyring.")
    shutdown_delay: Seconds = Field(
        0.0, ge=0, description="After SIGTERM, `/readyz` fails at once, and requests are still taken for so long."
    )
    shutdown_timeout: Seconds = Field(30.0, gt=0, description="And then those under way have so long to end.")

    @frameless
    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ConfigurationError(explain(error, type(self), _PARTS)) from None

    @classmethod
    @frameless
    def from_file(cls, path: str | Path) -> Self:
        """The settings in the table ``[server]`` of a TOML file, the defaults if it has none."""
        return cls(**_table(path))

    @classmethod
    @frameless
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """The settings in environment variables: ``ENVELOPE_CODEC_SERVER_`` and a field's name in capitals.

        Lists are separated by commas; ``auth``, ``rules`` and ``peers`` are JSON. ``ENVELOPE_CODEC_FILE`` names a TOML
        file to begin with; the other variables override it, and ``overrides`` them.
        """
        variables = os.environ if environ is None else environ
        settings = _table(variables[_FILE]) if variables.get(_FILE) else {}
        for variable, text in variables.items():
            if variable.startswith(PREFIX):
                name = variable.removeprefix(PREFIX).lower()
                field = cls.model_fields.get(name)
                if field is None:
                    raise ConfigurationError(f"{variable}: unknown setting{suggest(name, cls)}")
                settings[name] = (
                    _from_json(variable, text)
                    if name in ("auth", "rules")
                    else _from_text(variable, text, field.annotation)
                )
        return cls(**{**settings, **overrides})

    @field_validator("listen")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            Address.parse(text)
        return value

    @field_validator("origins")
    @classmethod
    def _exact(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if text != "*" and not re.fullmatch(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?", text):
                raise ValueError(
                    f"{shown_value(text)} is no origin: give scheme, host and, unless it is the scheme's own, port, in "
                    "lower case and with nothing behind, as https://cloud.temporal.io"
                )
        return value

    @field_validator("url")
    @classmethod
    def _reachable(cls, value: str | None) -> str | None:
        if value is not None and (urlsplit(value).scheme not in ("http", "https") or not value.isprintable()):
            raise ValueError("give an http or https URL")
        return value.rstrip("/") if value else value

    @field_validator("prefix")
    @classmethod
    def _path(cls, value: str) -> str:
        if value.strip("/") and not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+", value.rstrip("/")):
            raise ValueError("give a path that begins with a slash, such as /codec")
        return value.rstrip("/")

    @field_validator("rate_limit", "address_rate_limit", "refused_rate_limit")
    @classmethod
    def _rate(cls, value: str | None) -> str | None:
        if value not in (None, _OFF) and not re.fullmatch(r"[1-9]\d*/(?:second|minute|hour|day)", str(value)):
            raise ValueError(f'{shown_value(value)} is no rate: give one such as "600/minute" or "10/second", or "off"')
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.body_limit > min(self.max_body_bytes, self.max_body_bytes_per_caller):
            raise ValueError(
                "body_limit: larger than max_body_bytes or max_body_bytes_per_caller; give all three, with the memory "
                "that they take"
            )
        if "*" in self.origins and not self.on_loopback:
            raise ValueError("origins: * is for loopback; name the origins of the pages that may use the server")
        if (self.tls_cert is None) is not (self.tls_key is None):
            raise ValueError("tls_cert: goes with tls_key; give both or neither")
        if not self.auth and not self.on_loopback and not self.allow_unauthenticated_network:
            raise ValueError(
                "auth: missing; without it the server listens on loopback only, unless allow_unauthenticated_network "
                "(--allow-unauthenticated-network) lets whoever reaches it read everything"
            )
        if self.auth and not self.rules:
            raise ValueError("rules: missing; without any, nobody may do anything")
        names = [issuer.issuer for issuer in self.auth]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"auth: names {name!r} twice; list all its audiences in one")
        for number, rule in enumerate(self.rules):
            if rule.claims and not self.auth:
                raise ValueError(f"rules.{number}.claims: there is no auth, and so no token that could have claims")
            if len(names) > 1 and "iss" not in rule.claims:
                raise ValueError(f"rules.{number}.claims: with several issuers, name in iss whose tokens it is for")
        return self

    @property
    def addresses(self) -> list[Address]:
        """Where it listens."""
        return [Address.parse(text) for text in self.listen]

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return all(address.is_loopback for address in self.addresses)

    @property
    def rate(self) -> str | None:
        """How many requests a caller may make; None for any."""
        return None if self.rate_limit == _OFF else self.rate_limit

    @property
    def address_rate(self) -> str | None:
        """How many requests without a believed token may come from one address; None for any."""
        given = self.address_rate_limit or self.rate_limit
        return None if given == _OFF else given

    @property
    def refused_rate(self) -> str | None:
        """How many records of one caller a KMS may refuse; None for any."""
        return None if self.refused_rate_limit == _OFF else self.refused_rate_limit


def _table(path: str | Path) -> dict[str, Any]:
    table = read_toml(path).get(_TABLE, {})
    if not isinstance(table, dict):
        raise ConfigurationError(f"{str(path)!r}: server: give a table, [server]")
    return dict(table)


def _from_json(variable: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ConfigurationError(f"{variable}: give a JSON list") from None
