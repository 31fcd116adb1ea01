"""Separation of duties on OpenBao, by the policies of docs/compliance.md as they stand there."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import hvac
import pytest
from devstack import OpenBao
from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeCodec, EnvelopeConfig, KeyDenied
from envelope_codec_vault import VaultTransit

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "compliance.md").read_text("utf-8")
POLICIES = dict(re.findall(r"```hcl\n# (\w+)\n(.*?)```", PAGE, re.DOTALL))
PAYLOADS = [Payload(metadata={"encoding": b"json/plain"}, data=b'"an order"')]


class Duties(NamedTuple):
    """A master key, and those who have one of the page's policies each.

    Attributes:
        name: the key's, which the page calls ``envelope``.
        codec: a new codec of a new process, by the policy's name.
        client: a client of the server, by the policy's name.
    """

    name: str
    codec: Callable[[str], EnvelopeCodec]
    client: Callable[[str], hvac.Client]


@pytest.fixture
def duties(openbao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> Iterator[Duties]:
    for variable in ("VAULT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE"):
        monkeypatch.delenv(variable, raising=False)
    root = hvac.Client(url=openbao.address, token=openbao.token)
    name = f"duties-{secrets.token_hex(6)}"
    root.secrets.transit.create_key(name)
    tokens: dict[str, str] = {}
    for duty, policy in POLICIES.items():
        root.sys.create_or_update_policy(f"{name}-{duty}", policy.replace("envelope", name))
        made = root.auth.token.create(policies=[f"{name}-{duty}"], ttl="1h", no_default_policy=True)
        tokens[duty] = made["auth"]["client_token"]
    clients = {duty: hvac.Client(url=openbao.address, token=token) for duty, token in tokens.items()}
    codecs: list[EnvelopeCodec] = []

    def codec(duty: str) -> EnvelopeCodec:
        key = VaultTransit(name, address=openbao.address, token=tokens[duty])
        codecs.append(EnvelopeCodec(EnvelopeConfig(key=key, verify_wraps=False, startup_jitter=0)))
        return codecs[-1]

    yield Duties(name, codec, clients.__getitem__)
    for made in codecs:
        made.close()
    for client in (root, *clients.values()):
        client.session.close()


def test_the_page_has_the_three_policies() -> None:
    assert set(POLICIES) == {"seals", "opens", "administers"}


async def test_who_seals_can_not_open_and_who_opens_can_not_seal(duties: Duties) -> None:
    sealer = duties.codec("seals")
    sealed = await sealer.encode(PAYLOADS)
    with pytest.raises(KeyDenied):
        await sealer.decode(sealed)
    assert b"order" not in sealed[0].SerializeToString()
    assert await duties.codec("opens").decode(sealed) == PAYLOADS
    with pytest.raises(KeyDenied):
        await duties.codec("seals").decode(sealed)
    with pytest.raises(KeyDenied):
        await duties.codec("opens").encode(PAYLOADS)


async def test_who_administers_can_neither_seal_nor_open(duties: Duties) -> None:
    sealed = await duties.codec("seals").encode(PAYLOADS)
    with pytest.raises(KeyDenied):
        await duties.codec("administers").decode(sealed)
    with pytest.raises(KeyDenied):
        await duties.codec("administers").encode(PAYLOADS)


async def test_who_administers_rotates_and_disables_and_nobody_else_does(duties: Duties) -> None:
    sealed = await duties.codec("seals").encode(PAYLOADS)
    transit = duties.client("administers").secrets.transit
    transit.rotate_key(duties.name)
    assert await duties.codec("opens").decode(sealed) == PAYLOADS
    transit.update_key_configuration(duties.name, min_decryption_version=2)
    with pytest.raises(KeyDenied):
        await duties.codec("opens").decode(sealed)
    transit.update_key_configuration(duties.name, min_decryption_version=1)
    assert await duties.codec("opens").decode(sealed) == PAYLOADS
    for other in ("seals", "opens"):
        transit = duties.client(other).secrets.transit
        with pytest.raises(hvac.exceptions.Forbidden):
            transit.rotate_key(duties.name)
        with pytest.raises(hvac.exceptions.Forbidden):
            transit.update_key_configuration(duties.name, min_decryption_version=1)


@pytest.mark.parametrize("duty", POLICIES)
def test_nobody_gets_the_key_out_or_deletes_it(duty: str, duties: Duties) -> None:
    transit = duties.client(duty).secrets.transit
    attempts: list[Callable[[], object]] = [
        lambda: transit.update_key_configuration(duties.name, exportable=True),
        lambda: transit.update_key_configuration(duties.name, allow_plaintext_backup=True),
        lambda: transit.export_key(duties.name, "encryption-key"),
        lambda: transit.backup_key(duties.name),
        lambda: transit.delete_key(duties.name),
    ]
    for attempt in attempts:
        with pytest.raises(hvac.exceptions.Forbidden):
            attempt()
