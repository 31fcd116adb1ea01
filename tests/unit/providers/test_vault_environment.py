"""The environment of Vault's and OpenBao's own tools. Nothing here asks a network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from envelope_codec.errors import ConfigurationError
from envelope_codec_vault import VaultTransit, _environment
from envelope_codec_vault._hints import LOGIN_LOCKED, LOGIN_REFUSED
from envelope_codec_vault._life import read_life
from envelope_codec_vault._refusal import APPROLE, UNLOCKED, Refusals

VAULT, BAO, OWN = "https://vault.invalid:8200", "https://bao.invalid:8200", "https://own.invalid:8200"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("VAULT_", "BAO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(_environment, "_said", set())


def client_of(key: VaultTransit) -> tuple[str, str]:
    client = key._sessions().current().client
    key.close()
    return client.adapter.base_uri, client.token


def test_the_twins_of_openbao_count_where_vault_s_are_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAO_ADDR", BAO)
    monkeypatch.setenv("BAO_TOKEN", "of-bao")
    assert client_of(VaultTransit("k")) == (BAO, "of-bao")
    monkeypatch.setenv("VAULT_ADDR", VAULT)
    monkeypatch.setenv("VAULT_TOKEN", "of-vault")
    assert client_of(VaultTransit("k")) == (VAULT, "of-vault")
    assert client_of(VaultTransit("k", address=OWN, token="own")) == (OWN, "own")


def test_twins_that_differ_are_told_once_without_their_values(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in (("VAULT_ADDR", VAULT), ("BAO_ADDR", BAO), ("VAULT_TOKEN", "one"), ("BAO_TOKEN", "another")):
        monkeypatch.setenv(name, value)
    for _ in range(3):
        VaultTransit("k").close()
    assert sorted(record.getMessage() for record in caplog.records) == [
        "VAULT_ADDR and BAO_ADDR differ: VAULT_ADDR is used",
        "VAULT_TOKEN and BAO_TOKEN differ: VAULT_TOKEN is used",
    ]


def test_twins_that_agree_and_empty_ones_are_no_trouble(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in (("VAULT_ADDR", ""), ("BAO_ADDR", BAO), ("VAULT_TOKEN", "t"), ("BAO_TOKEN", "t")):
        monkeypatch.setenv(name, value)
    assert client_of(VaultTransit("k")) == (BAO, "t")
    assert caplog.text == ""


def test_a_ca_and_a_client_certificate_of_the_environment_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("ca.pem", "client.pem", "client.key"):
        (tmp_path / name).write_text("x")
    monkeypatch.setenv("BAO_ADDR", BAO)
    monkeypatch.setenv("BAO_CACERT", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("VAULT_CLIENT_CERT", str(tmp_path / "client.pem"))
    monkeypatch.setenv("BAO_CLIENT_KEY", str(tmp_path / "client.key"))
    key = VaultTransit("k", token="t")
    client: Any = key._sessions().current().client
    assert client.session.verify == str(tmp_path / "ca.pem")
    assert client.adapter._kwargs["cert"] == (str(tmp_path / "client.pem"), str(tmp_path / "client.key"))
    key.close()
    monkeypatch.setenv("VAULT_CLIENT_CERT", str(tmp_path / "missing"))
    with pytest.raises(ConfigurationError, match=r"VAULT_CLIENT_CERT: .* does not exist"):
        VaultTransit("k", token="t")
    monkeypatch.delenv("VAULT_CLIENT_CERT")
    with pytest.raises(ConfigurationError, match="needs VAULT_CLIENT_CERT"):
        VaultTransit("k", token="t")


@pytest.mark.parametrize("name", ["VAULT_NAMESPACE", "BAO_NAMESPACE"])
def test_a_namespace_of_the_environment_names_no_other_key_and_is_warned_of(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, "team/a/")
    key = VaultTransit("k", address=OWN, token="t")
    assert key.key_id == "hashivault://k?mount=transit"
    assert f"{name} is set, and ignored" in caplog.text
    assert "namespace=team/a to the key URI" in caplog.text
    key.close()
    caplog.clear()
    other = VaultTransit("k", address=OWN, token="t", namespace="team/b")
    assert other.key_id.endswith("namespace=team/b")
    assert caplog.text == ""
    other.close()
    monkeypatch.setenv(name, "root")
    assert _environment.find_ignored_variables("") == []


@pytest.mark.parametrize("name", ["VAULT_SKIP_VERIFY", "BAO_CACERT_BYTES", "VAULT_HTTP_PROXY", "VAULT_AGENT_ADDR"])
def test_what_is_of_no_effect_is_warned_of_once_and_told_by_the_key(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, "1")
    for _ in range(2):
        VaultTransit("k", address=OWN, token="t").close()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [f"{name} is set, and ignored"]
    key = VaultTransit("k", address="http://127.0.0.1:1", token="t", connect_timeout=0.2)
    assert [text for text, _ in key.notices()] == [f"{name} is set, and ignored"]
    key.close()


# --- what is remembered of refusals and lives


def test_the_url_goes_by_the_name_that_it_has_everywhere_and_by_its_earlier_one() -> None:
    for key in (
        VaultTransit("k", endpoint=OWN, token="t"),
        VaultTransit("k", address=OWN, token="t"),
        VaultTransit.from_uri(f"hashivault://k?endpoint={OWN}", token="t"),
        VaultTransit.from_uri(f"hashivault://k?address={OWN}", token="t"),
    ):
        assert client_of(key) == (OWN, "t")
        key.close()
    with pytest.raises(ConfigurationError, match="endpoint and address are one: give endpoint alone"):
        VaultTransit("k", endpoint=OWN, address=OWN, token="t")
    with pytest.raises(ConfigurationError, match="'endpoint' once"):
        VaultTransit.from_uri(f"hashivault://k?endpoint={OWN}&address={OWN}", token="t")


def test_a_refusal_is_known_for_its_credential_and_for_a_while() -> None:
    refusals = Refusals(APPROLE, jitter=lambda: 0.0)
    assert refusals.known("a", 0.0) is None
    assert refusals.add("a", LOGIN_REFUSED, 0.0) == 1_800.0
    assert refusals.known("a", 1_799.0) == LOGIN_REFUSED
    assert refusals.known("b", 1.0) is None
    assert refusals.known("a", 1_800.0) is None
    refusals.clear()
    assert refusals.known("a", 1.0) is None


def test_refusals_come_less_and_less_often_and_never_seldomer_than_the_longest() -> None:
    for pace, spans in ((APPROLE, [1_800, 3_600, 7_200, 14_400, 14_400]), (UNLOCKED, [60, 120, 240, 480, 900, 900])):
        refusals = Refusals(pace, jitter=lambda: 0.0)
        assert [refusals.add("a", LOGIN_REFUSED, 0.0) for _ in spans] == spans
    locked = Refusals(APPROLE, jitter=lambda: 1.0)
    assert [locked.add("a", LOGIN_LOCKED, 0.0) for _ in range(3)] == [1_350.0] * 3


def test_four_processes_with_a_dead_secret_id_never_lock_the_role() -> None:
    """Vault's counter starts anew after 15 minutes without a refused login, and locks at the fifth."""
    import random

    chance = random.Random(7)
    for _ in range(300):
        tries = []
        for _ in range(4):
            refusals, now = Refusals(APPROLE, jitter=chance.random), chance.uniform(0, 60)
            for _ in range(6):
                tries.append(now)
                now += refusals.add("dead", LOGIN_REFUSED, now)
        count, last = 0, -1e9
        for now in sorted(tries):
            count = 1 if now - last > 900 else count + 1
            last = now
            assert count < 5


def test_a_life_is_read_from_logins_renewals_and_lookups() -> None:
    login = read_life({"lease_duration": 600, "renewable": True, "num_uses": 0})
    assert (login.seconds, login.full, login.keeps) == (600.0, 600.0, True)
    looked_up = read_life({"ttl": 60, "creation_ttl": 600, "renewable": True, "num_uses": 0})
    assert (looked_up.seconds, looked_up.full, looked_up.keeps) == (60.0, 600.0, True)
    assert not read_life({"lease_duration": 600, "renewable": True, "num_uses": 3}).keeps
    assert not read_life({"lease_duration": 600, "renewable": False}).keeps
    endless = read_life({"ttl": 0, "creation_ttl": 0, "renewable": True})
    assert endless.seconds == float("inf")
    assert not endless.keeps
    assert read_life({"lease_duration": "soon"}).seconds == float("inf")
