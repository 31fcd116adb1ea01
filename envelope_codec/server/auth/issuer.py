"""An issuer of tokens, and where its keys are."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator
from typing_extensions import Self

from envelope_codec._grammar import Seconds
from envelope_codec.server.setting import Names, SettingsTable
from envelope_codec.server.web.address import Address

TEMPORAL_CLOUD = "temporal-cloud"
ID_TOKEN = "id-token"  # noqa: S105 - a value of the setting believe

TOKEN_FILE = "token-file"  # noqa: S105 - a name
"""Stands for an issuer where callers have a static token: in rules, and in the audit trail."""

# docs.temporal.io: "Securing a Codec Server" names the JWKS and the audience. Auth0 ends every issuer with a slash.
_TEMPORAL_CLOUD = {
    "issuer": "https://login.tmprl.cloud/",
    "audience": ("https://saas-api.tmprl.cloud",),
    "jwks_url": "https://login.tmprl.cloud/.well-known/jwks.json",
    "email_claim": "https://saas-api.tmprl.cloud/user/email",
}

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SYMMETRIC = ("HS256", "HS384", "HS512")


class Issuer(SettingsTable):
    """An issuer whose tokens the server accepts."""

    issuer: str = Field(
        min_length=1,
        description='The `iss` in tokens of this issuer, to the letter. `"temporal-cloud"` stands for Temporal '
        "Cloud with all its settings.",
    )
    believe: Literal["access-token", "id-token"] = Field(
        "access-token",
        description="Which token of this issuer tells who asks: the access token in `Authorization`, or the ID "
        "token in `Authorization-Extras`, for issuers whose access tokens are opaque. Never both.",
    )
    audience: Names = Field(
        (), description='Accepted values of `aud` in access tokens. Required, except with `believe = "id-token"`.'
    )
    id_token_audience: Names = Field(
        (), description="Accepted values of `aud` in ID tokens: the client's id. Unless it is set, `audience` counts."
    )
    introspection_url: str | None = Field(
        None,
        description="URL where the issuer says whose a token is (RFC 7662), for access tokens that are opaque. At most "
        "one issuer may have it. Keys beside it are for ID tokens.",
    )
    introspection_client_id: str | None = Field(
        None, min_length=1, description="Name of this server as a client of the issuer, for `introspection_url`."
    )
    introspection_secret_file: str | None = Field(
        None, description="File with the secret of `introspection_client_id`. It is read at start."
    )
    introspection_auth: Literal["basic", "post"] = Field(
        "basic", description="How that secret is sent: in the header `Authorization`, or in the form."
    )
    introspection_cache: Seconds = Field(
        60.0,
        ge=0,
        le=600,
        description="How long an answer is believed, and so how long a revoked token still is; never beyond its `exp`.",
    )
    jwks_url: str | None = Field(
        None, description="URL of the issuer's public keys, as a JWKS. `https`, or on loopback `http`."
    )
    key_file: str | None = Field(
        None,
        description="File with the issuer's public keys, instead of `jwks_url`: a JWKS, or one public key or "
        "certificate in PEM.",
    )
    secret_file: str | None = Field(
        None,
        description="File with a secret of 32 bytes or more that the issuer shares, instead of public keys. For "
        "`HS256`, `HS384` and `HS512`.",
    )
    algorithms: Names = Field(
        (),
        description="Algorithms that tokens may be signed with. Unless it is set: " + ", ".join(ASYMMETRIC) + "; with "
        "`secret_file`, `HS256`.",
    )
    leeway: Seconds = Field(30.0, ge=0, le=300, description="How far the issuer's clock may be wrong.")
    email_claim: str = Field("email", min_length=1, description="Name of the claim that holds the email address.")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_temporal_cloud(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("issuer") in (TEMPORAL_CLOUD, _TEMPORAL_CLOUD["issuer"]):
            left_out = {"jwks_url"} if {"key_file", "secret_file"} & set(value) else set()
            left_out |= {"audience"} if value.get("believe") == ID_TOKEN else set()
            known = {name: known for name, known in _TEMPORAL_CLOUD.items() if name not in left_out}
            return {**known, **value, "issuer": _TEMPORAL_CLOUD["issuer"]}
        return value

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        self._check_audience()
        self._check_introspection()
        keys = sum(given is not None for given in (self.jwks_url, self.key_file, self.secret_file))
        if keys > 1 or (not self.has_keys and self.introspection_url is None):
            raise ValueError("jwks_url: give one of jwks_url, key_file and secret_file")
        if self.jwks_url is not None:
            _check_url("jwks_url", self.jwks_url)
        allowed = ASYMMETRIC if self.secret_file is None else SYMMETRIC
        for name in self.algorithms:
            if name not in allowed:
                kind = "a secret_file" if self.secret_file is not None else "public keys"
                raise ValueError(f"algorithms: {name!r} does not go with {kind} (known: {', '.join(allowed)})")
        return self

    def _check_audience(self) -> None:
        if self.issuer == TOKEN_FILE:
            raise ValueError(f"issuer: {TOKEN_FILE} stands for token_files; no other issuer may have this name")
        if self.believe == ID_TOKEN:
            if not self.id_token_audience:
                raise ValueError("id_token_audience: missing; ID tokens that other clients were given would do")
            if self.audience:
                raise ValueError('audience: is for access tokens, which count for nothing with believe = "id-token"')
        elif not self.audience:
            raise ValueError("audience: missing; without one, tokens that were made for others would do")

    def _check_introspection(self) -> None:
        if self.introspection_url is None:
            for name in ("introspection_client_id", "introspection_secret_file"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name}: goes with introspection_url")
            return
        _check_url("introspection_url", self.introspection_url)
        if self.believe == ID_TOKEN:
            raise ValueError("introspection_url: is for access tokens; they count for nothing with believe = id-token")
        if self.introspection_client_id is None or self.introspection_secret_file is None:
            raise ValueError("introspection_url: give introspection_client_id and introspection_secret_file with it")

    @property
    def has_keys(self) -> bool:
        """Whether there is something to verify its JWTs with."""
        return any(given is not None for given in (self.jwks_url, self.key_file, self.secret_file))

    @property
    def allowed_algorithms(self) -> tuple[str, ...]:
        """Algorithms that its tokens may be signed with."""
        return self.algorithms or (ASYMMETRIC if self.secret_file is None else ("HS256",))


def _check_url(setting: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        safe = parts.scheme == "https" or (parts.scheme == "http" and Address(host, 0).is_loopback)
    except ValueError:
        safe, host = False, ""
    if not safe or not host or parts.username or parts.password:
        raise ValueError(f"{setting}: give an https URL without credentials (http only on loopback)")
