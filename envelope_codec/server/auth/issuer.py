"""An issuer of tokens, and where its keys are."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, model_validator
from typing_extensions import Self

from envelope_codec._grammar import Seconds
from envelope_codec.server.setting import Names, SettingsTable
from envelope_codec.server.web.address import Address

TEMPORAL_CLOUD = "temporal-cloud"

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
    audience: Names = Field((), description="Accepted values of `aud` in access tokens. Required.")
    id_token_audience: Names = Field(
        (), description="Accepted values of `aud` in ID tokens: the client's id. Unless it is set, `audience` counts."
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
            keys = {"key_file", "secret_file"} & set(value)
            known = {name: known for name, known in _TEMPORAL_CLOUD.items() if not (keys and name == "jwks_url")}
            return {**known, **value, "issuer": _TEMPORAL_CLOUD["issuer"]}
        return value

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if not self.audience:
            raise ValueError("audience: missing; without one, tokens that were made for others would do")
        if sum(given is not None for given in (self.jwks_url, self.key_file, self.secret_file)) != 1:
            raise ValueError("jwks_url: give one of jwks_url, key_file and secret_file")
        if self.jwks_url is not None:
            _check_url(self.jwks_url)
        allowed = ASYMMETRIC if self.secret_file is None else SYMMETRIC
        for name in self.algorithms:
            if name not in allowed:
                kind = "a secret_file" if self.secret_file is not None else "public keys"
                raise ValueError(f"algorithms: {name!r} does not go with {kind} (known: {', '.join(allowed)})")
        return self

    @property
    def allowed_algorithms(self) -> tuple[str, ...]:
        """Algorithms that its tokens may be signed with."""
        return self.algorithms or (ASYMMETRIC if self.secret_file is None else ("HS256",))


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        safe = parts.scheme == "https" or (parts.scheme == "http" and Address(host, 0).is_loopback)
    except ValueError:
        safe, host = False, ""
    if not safe or not host or parts.username or parts.password:
        raise ValueError("jwks_url: give an https URL without credentials (http only on loopback)")
