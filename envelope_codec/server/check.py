"""A check of the server's settings without serving: its files, the master keys, the issuers' keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from envelope_codec.config import EnvelopeConfig
from envelope_codec.server.auth.json_fetch import redact_url
from envelope_codec.server.config import ServerConfig
from envelope_codec.server.readiness import Readiness
from envelope_codec.server.run import log_to_stderr
from envelope_codec.server.service import Service
from envelope_codec.server.web.certificate import check_certificate


def check(config: EnvelopeConfig, server: ServerConfig) -> tuple[list[str], bool]:
    """Return lines that say what was found, and whether all is well.

    The addresses to listen at are not tried: the server may be running.

    Raises:
        ConfigurationError: a key, a file or the storage can't be loaded.
    """
    log_to_stderr()
    if server.tls_cert is not None:
        check_certificate(server.tls_cert, server.tls_key or "")
    service = Service(config, server)
    try:
        keys, issuers = asyncio.run(_ask(service))
    finally:
        service.stop()
    lines = [*_describe_keys(keys), *_describe_issuers(server, issuers)]
    return lines, keys.ready and not issuers


async def _ask(service: Service) -> tuple[Readiness, dict[str, str]]:
    return await asyncio.gather(service.probes.check(), service.authenticator.check())


def _describe_keys(found: Readiness) -> Iterator[str]:
    if found.failed:
        yield f"master keys: {found.failed} of {sum(found)} do not work; `envelope-codec doctor` says why"
        return
    yield f"master keys: {found.proved} unwrap what they wrapped"
    if found.unproved:
        yield f"master keys: with {found.unproved} this role may not wrap, so that nothing could be tried"


def _describe_issuers(server: ServerConfig, failed: dict[str, str]) -> Iterator[str]:
    for issuer in server.auth:
        problem = failed.get(issuer.issuer)
        asked = issuer.introspection_url is not None
        if problem is None:
            yield f"issuer {issuer.issuer}: {'it tells whose a token is' if asked else 'its keys are known'}"
        else:
            where = redact_url(issuer.introspection_url or issuer.jwks_url or "")
            what = "does not tell whose a token is" if asked else "gives no keys"
            yield f"issuer {issuer.issuer}: {where} {what}, so nobody with its tokens is let in: {problem}"
