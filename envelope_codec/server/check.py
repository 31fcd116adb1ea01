"""Trying out the server's settings without serving: its files, the master keys, the issuers' keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from envelope_codec.config import EnvelopeConfig
from envelope_codec.server.auth.jwks import shown
from envelope_codec.server.config import ServerConfig
from envelope_codec.server.readiness import Readiness
from envelope_codec.server.run import log
from envelope_codec.server.service import Service
from envelope_codec.server.web.certificate import check_certificate


def check(config: EnvelopeConfig, server: ServerConfig) -> tuple[list[str], bool]:
    """Lines that say what was found, and whether all is well. Where it listens is not tried: it may be running.

    Raises:
        ConfigurationError: a key, a file or the storage can't be loaded.
    """
    log()
    if server.tls_cert is not None:
        check_certificate(server.tls_cert, server.tls_key or "")
    service = Service(config, server)
    try:
        keys, issuers = asyncio.run(_asked(service))
    finally:
        service.stop()
    lines = [*_keys(keys), *_issuers(server, issuers)]
    return lines, keys.ready and not issuers


async def _asked(service: Service) -> tuple[Readiness, dict[str, str]]:
    return await asyncio.gather(service.probes.check(), service.tokens.check())


def _keys(found: Readiness) -> Iterator[str]:
    if found.failed:
        yield f"master keys: {found.failed} of {sum(found)} do not work; `envelope-codec doctor` says why"
        return
    yield f"master keys: {found.proved} unwrap what they wrapped"
    if found.unproved:
        yield f"master keys: with {found.unproved} this role may not wrap, so that nothing could be tried"


def _issuers(server: ServerConfig, failed: dict[str, str]) -> Iterator[str]:
    for issuer in server.auth:
        said = failed.get(issuer.issuer)
        if said is None:
            yield f"issuer {issuer.issuer}: its keys are known"
        else:
            where = shown(issuer.jwks_url or "")
            yield f"issuer {issuer.issuer}: {where} gives no keys, so nobody with its tokens is let in: {said}"
