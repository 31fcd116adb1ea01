"""Settings of the codec server: the table ``[server]`` of ``envelope.toml``, or ``ENVELOPE_CODEC_SERVER_…``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator
from typing_extensions import Self

from envelope_codec._frames import frameless
from envelope_codec._grammar import Seconds
from envelope_codec.errors import ConfigurationError
from envelope_codec.server.auth.issuer import TOKEN_FILE, Issuer
from envelope_codec.server.auth.rule import Rule
from envelope_codec.server.config_source import read_environment, read_file
from envelope_codec.server.setting import (
    OFF,
    Addresses,
    Names,
    Origins,
    Patterns,
    Prefix,
    Rate,
    SettingsTable,
    Size,
    SizeOrZero,
    Url,
    explain,
)
from envelope_codec.server.web.address import Address

_TABLES: dict[str, type[BaseModel]] = {"auth": Issuer, "rules": Rule}


class ServerConfig(SettingsTable):
    """All settings of the codec server. Durations are seconds, or texts such as ``"90s"`` and ``"5m"``.

    Raises:
        ConfigurationError: a setting is wrong. The text names it, and the fix.
    """

    listen: Addresses = Field(
        ("127.0.0.1:8081",),
        min_length=1,
        description="Addresses to listen at: `HOST:PORT`, or a list of such. `[::1]:8081` for IPv6.",
    )
    url: Url = Field(
        None,
        description="URL at which browsers and the command line reach the server, if not at `listen`. The server shows "
        "it to people, and never connects to it.",
    )
    prefix: Prefix = Field(
        "", description="Path that a proxy leaves in front of `/decode` and the other paths, such as `/codec`."
    )
    origins: Origins = Field(
        (),
        description="Origins whose pages may use the server, to the letter, such as `https://cloud.temporal.io`. `*` "
        "stands for any origin, and is allowed on loopback only.",
    )
    auth: tuple[Issuer, ...] = Field((), description="Issuers whose tokens the server accepts; see below.")
    token_files: Names = Field(
        (),
        description="Files of static tokens, for machines, as `envelope-codec token` writes them. The server reads "
        "them again when they change.",
    )
    rules: tuple[Rule, ...] = Field(
        (), description="Rules that say who may do what in which namespaces; see below. What no rule allows is refused."
    )
    peers: dict[str, Patterns] = Field(
        {},
        description="For each namespace, other namespaces, by name or pattern. Who may read payloads that the first "
        "sealed may also read payloads that the others sealed. For results of Nexus operations.",
    )
    allow_unauthenticated_network: bool = Field(
        False,
        description="Whether the server may listen beyond loopback without `auth`. Whoever reaches it may then read "
        "everything.",
    )
    default_namespace: str | None = Field(
        None, min_length=1, description="Namespace to seal and open for where a request names none."
    )
    strict: bool = Field(
        False,
        description="Whether one payload that can't be opened makes its whole request fail. Otherwise that payload "
        "comes back as it was.",
    )
    storage: str | None = Field(
        None,
        pattern=r"^[\w.]+:[\w.]+$",
        description="Where references to external storage lead: `module:name` of an `ExternalStorage` or a "
        "`StorageDriver`, or of a function that returns one.",
    )
    inline_below: SizeOrZero = Field(
        2**16,
        description="Up to which size stored payloads are shown where a client, such as the Web UI, asks to leave "
        "references alone. For `storage` and `former_storage`, whose claims tell the size. `0` leaves all alone.",
    )
    tls_cert: str | None = Field(
        None, description="File with the server's certificate chain, in PEM. With it, the server speaks https."
    )
    tls_key: str | None = Field(
        None,
        description="File with the private key of `tls_cert`. The server reads both files again when they change.",
    )
    body_limit: Size = Field(16 * 2**20, description="The largest body that a request may have.")
    max_payloads: int = Field(1_000, ge=1, description="The most payloads that a request may have.")
    max_requests: int = Field(
        100,
        ge=1,
        description="How many requests are answered at once, once their bodies are there. Further requests are told to "
        "wait.",
    )
    max_requests_per_caller: int = Field(
        16,
        ge=1,
        description="How many requests of one caller may be under way, including those whose bodies are still coming.",
    )
    max_connections_per_address: int = Field(
        256, ge=1, description="How many connections one address may have open. `trusted_proxies` may have any number."
    )
    max_body_bytes: Size = Field(
        40 * 2**20,
        description="The most bytes that all requests under way may have together. See Budgets for the memory that "
        "this takes.",
    )
    max_body_bytes_per_caller: Size = Field(
        24 * 2**20, description="The most bytes that the requests of one caller under way may have together."
    )
    max_concurrent_kms: int = Field(
        32,
        ge=1,
        description="How many records may wait for a KMS at once, up to 32, and how many references for a store.",
    )
    max_concurrent_kms_per_caller: int = Field(
        16, ge=1, description="How many records of one caller may wait for a KMS at once, and how many references."
    )
    request_timeout: Seconds = Field(25.0, gt=0, description="How long a request waits for the KMS, in all.")
    body_timeout: Seconds = Field(30.0, gt=0, description="How long a client may take to send a body.")
    header_timeout: Seconds = Field(10.0, gt=0, description="How long a client may take to send the head of a request.")
    rate_limit: Rate = Field(
        "600/minute",
        description='How many requests a caller may make, such as `"10/second"`. Each worker counts its own. `"off"` '
        "stands for any number.",
    )
    address_rate_limit: Rate | None = Field(
        None,
        description="How many requests without a valid token may come from one address. Unless it is set, as "
        "`rate_limit`.",
    )
    refused_rate_limit: Rate = Field(
        "300/minute",
        description="How many records of one caller a KMS may refuse. Beyond that, it is asked about no other records "
        "of this caller.",
    )
    audit_file: str | None = Field(
        None,
        description="File for the audit lines. Unless it is set, they go to standard output. On SIGHUP the server "
        "opens the file again.",
    )
    metrics: Literal["loopback", "everyone", "off"] = Field(
        "loopback", description="Who gets `/metrics`: callers on this machine, everyone, or nobody."
    )
    hosts: Names = Field(
        (),
        description="Further names of the server, beside the one in `url`. `/` and `/metrics` refuse requests for any "
        "other name.",
    )
    trusted_proxies: Names = Field(
        (),
        description="Addresses or networks of proxies. The server believes their `X-Forwarded-For` and "
        "`X-Forwarded-Proto`.",
    )
    workers: int = Field(1, ge=1, le=64, description="How many processes serve, each with its own keyring.")
    shutdown_delay: Seconds = Field(
        0.0,
        ge=0,
        description="How long the server takes requests after SIGTERM. `/readyz` fails from SIGTERM on.",
    )
    shutdown_timeout: Seconds = Field(
        30.0,
        gt=0,
        description="How long requests under way may take to end once the server takes no further ones.",
    )

    @frameless
    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ConfigurationError(explain(error, type(self), _TABLES)) from None

    @classmethod
    @frameless
    def from_file(cls, path: str | Path) -> Self:
        """Read the table ``[server]`` of a TOML file. Without such a table, all settings have their defaults."""
        return cls(**read_file(path))

    @classmethod
    @frameless
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Read environment variables: ``ENVELOPE_CODEC_SERVER_`` and a setting's name in capitals.

        Lists are separated by commas; ``auth``, ``rules`` and ``peers`` are JSON. ``ENVELOPE_CODEC_FILE`` names a TOML
        file. The other variables override the file, and ``overrides`` override the variables.
        """
        variables = os.environ if environ is None else environ
        return cls(**{**read_environment(variables, cls), **overrides})

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        self._check_bodies()
        self._check_network()
        self._check_rules([*(issuer.issuer for issuer in self.auth), *([TOKEN_FILE] if self.token_files else [])])
        return self

    def _check_bodies(self) -> None:
        if self.body_limit > min(self.max_body_bytes, self.max_body_bytes_per_caller):
            raise ValueError(
                "body_limit: larger than max_body_bytes or max_body_bytes_per_caller; give all three, with the memory "
                "that they take"
            )

    def _check_network(self) -> None:
        if "*" in self.origins and not self.on_loopback:
            raise ValueError("origins: * is for loopback; name the origins of the pages that may use the server")
        if (self.tls_cert is None) is not (self.tls_key is None):
            raise ValueError("tls_cert: goes with tls_key; give both or neither")
        if not self.wants_tokens and not self.on_loopback and not self.allow_unauthenticated_network:
            raise ValueError(
                "auth: missing; without it the server listens on loopback only, unless allow_unauthenticated_network "
                "(--allow-unauthenticated-network) lets whoever reaches it read everything"
            )

    def _check_rules(self, issuers: list[str]) -> None:
        if self.wants_tokens and not self.rules:
            raise ValueError("rules: missing; without any, nobody may do anything")
        for name in issuers:
            if issuers.count(name) > 1:
                raise ValueError(f"auth: names {name!r} twice; list all its audiences in one")
        if sum(issuer.introspection_url is not None for issuer in self.auth) > 1:
            raise ValueError("auth: two issuers have introspection_url; one would be asked about the other's tokens")
        for number, rule in enumerate(self.rules):
            if rule.claims and not self.wants_tokens:
                raise ValueError(f"rules.{number}.claims: there is no auth, and so no token that could have claims")
            if len(issuers) > 1 and "iss" not in rule.claims:
                raise ValueError(f"rules.{number}.claims: with several issuers, name in iss whose tokens it is for")

    @property
    def wants_tokens(self) -> bool:
        """Whether callers need a token."""
        return bool(self.auth or self.token_files)

    @property
    def addresses(self) -> list[Address]:
        """The addresses to listen at."""
        return [Address.parse(text) for text in self.listen]

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return all(address.is_loopback for address in self.addresses)

    @property
    def rate(self) -> str | None:
        """Number of requests that a caller may make; None for any number."""
        return None if self.rate_limit == OFF else self.rate_limit

    @property
    def address_rate(self) -> str | None:
        """Number of requests without a valid token that may come from one address; None for any number."""
        given = self.address_rate_limit or self.rate_limit
        return None if given == OFF else given

    @property
    def refused_rate(self) -> str | None:
        """Number of records of one caller that a KMS may refuse; None for any number."""
        return None if self.refused_rate_limit == OFF else self.refused_rate_limit
