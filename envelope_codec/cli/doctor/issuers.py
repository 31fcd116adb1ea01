"""The issuers in the codec server's table ``[server]``: whether they give their keys to this machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from envelope_codec.cli.doctor.finding import Code, Finding, advice, problem
from envelope_codec.cli.keys.call import Deadline
from envelope_codec.config import read_toml
from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import MISSING_PACKAGE
from envelope_codec.server import ServerConfig, load
from envelope_codec.server.auth.issuer import Issuer
from envelope_codec.server.auth.json_fetch import redact_url

_PREFIX = "ENVELOPE_CODEC_SERVER_"
_FILE = "ENVELOPE_CODEC_FILE"


def load_server(key: str | None, file: str | None, environ: Mapping[str, str] | None = None) -> ServerConfig | None:
    """Load the settings of the codec server from where the configuration comes from. None if there are none.

    Raises:
        ConfigurationError: one of them is wrong.
    """
    variables = os.environ if environ is None else environ
    if key is not None:
        return None
    path = file or variables.get(_FILE)
    in_file = bool(path) and "server" in read_toml(path or "")
    if file is not None:
        return ServerConfig.from_file(file) if in_file else None
    in_environment = any(name.startswith(_PREFIX) for name in variables)
    return ServerConfig.from_env(variables) if in_file or in_environment else None


async def issuer_findings(server: ServerConfig | None, deadline: Deadline) -> list[Finding]:
    """Ask the issuers of ``server`` for their keys, and say which give none."""
    if server is None or not server.wants_tokens:
        return []
    try:
        authenticator = load("auth.authenticator").Authenticator(server.auth, server.token_files)
    except ConfigurationError as error:
        if error.code == MISSING_PACKAGE:
            text = "the codec server's issuers were not asked for their keys, since its extra is not installed here"
            return [advice(Code.issuers_not_asked, "server.auth", text, "run this where the codec server runs")]
        return [problem(Code.configuration_invalid, "server.auth", str(error), "correct the setting that is named")]
    try:
        found: dict[str, str] = await asyncio.wait_for(authenticator.check(), deadline.remaining)
    except asyncio.TimeoutError:
        text = "the keys of the issuers did not come in time"
        fix = "see whether jwks_url and introspection_url can be reached from here"
        return [problem(Code.no_answer_in_time, "server.auth", text, fix)]
    finally:
        authenticator.close()
    return [_describe(issuer, found[issuer.issuer]) for issuer in server.auth if issuer.issuer in found]


def _describe(issuer: Issuer, said: str) -> Finding:
    if issuer.introspection_url is None:
        return problem(
            Code.issuer_keys_unavailable,
            issuer.issuer,
            f"{redact_url(issuer.jwks_url or '')} gives no keys: the codec server lets in nobody with a token of this "
            "issuer",
            "see that jwks_url is the issuer's, and can be reached from here, through HTTPS_PROXY if there is a proxy",
            said,
        )
    return problem(
        Code.introspection_unavailable,
        issuer.issuer,
        f"{redact_url(issuer.introspection_url)} does not tell whose a token is: the codec server lets in nobody with "
        "an access token of this issuer",
        "see that introspection_url is the issuer's, and can be reached from here, and that introspection_client_id "
        "and introspection_secret_file are those of a client that may ask it",
        said,
    )
