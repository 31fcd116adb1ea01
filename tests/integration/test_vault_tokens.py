"""Vault tokens on a real server: renewed for as long as Vault allows, and a refused login that locks nobody out."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import hvac
import pytest
from devstack import OpenBao

from envelope_codec.errors import KeyDenied, KmsUnavailable
from envelope_codec.provider import Failed
from envelope_codec_vault import VaultTransit, _shared
from envelope_codec_vault._connection import Connection
from envelope_codec_vault._endpoint import Endpoint
from envelope_codec_vault._login import AppRole, GivenToken, Login, TokenFile
from envelope_codec_vault._own_sessions import OwnSessions
from envelope_codec_vault._secret_file import SecretFile
from envelope_codec_vault._shared import SharedSessions
from tests.integration.test_vault import CONTEXT, SECRET, Admin, Clock, Role, administered, failure, opens

LOG = "envelope_codec.vault"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("VAULT_", "BAO_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def admin(openbao: OpenBao) -> Iterator[Admin]:
    with administered(openbao.address, openbao.token) as found:
        yield found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def role(admin: Admin) -> Callable[..., Role]:
    """Makes AppRoles, whose secret ids are good for so many logins; 0 for any number."""

    def make(**options: Any) -> Role:
        if "approle/" not in admin.client.sys.list_auth_methods()["data"]:
            admin.client.sys.enable_auth_method("approle")
        approle = admin.client.auth.approle
        name = f"role-{secrets.token_hex(6)}"
        approle.create_or_update_approle(name, **options)

        def secret_id(uses: int) -> str:
            made: Any = admin.client.write_data(f"auth/approle/role/{name}/secret-id", data={"num_uses": uses})
            return str(made["data"]["secret_id"])

        return Role(approle.read_role_id(name)["data"]["role_id"], secret_id)

    return make


@pytest.fixture
def sessions(admin: Admin, clock: Clock) -> Iterator[Callable[..., OwnSessions]]:
    """Sessions whose clock only the test moves."""
    made: list[OwnSessions] = []

    def make(login: Login, **options: Any) -> OwnSessions:
        connection = Connection(Endpoint(admin.address, "", True, 2.0, 5.0))
        made.append(OwnSessions(login, connection, clock=clock, jitter=lambda: 0.0, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def approle(made: Role, uses: int = 0) -> AppRole:
    secret_id = made.new_secret_id(uses)
    return AppRole(made.role_id, lambda: secret_id, "approle")


def ttl(admin: Admin, sessions: OwnSessions) -> int:
    """Seconds that Vault gives the token in use."""
    token = sessions.current().client.token
    return int(admin.client.auth.token.lookup(token)["data"]["ttl"])


def refused(sessions: OwnSessions) -> str:
    with pytest.raises(Failed) as caught:
        sessions.current()
    assert caught.value.meaning.error is KmsUnavailable
    return caught.value.meaning.text


# --- renewal


@pytest.mark.parametrize(
    "options", [{"token_ttl": "600s", "token_max_ttl": "0"}, {"token_period": "600s"}], ids=["ttl", "periodic"]
)
def test_a_token_of_a_single_use_secret_id_is_renewed_for_ever(
    options: dict[str, str], admin: Admin, role: Any, sessions: Any, clock: Clock
) -> None:
    found = sessions(approle(role(**options), uses=1))
    token = found.current().client.token
    for _ in range(20):
        clock.now += 401.0
        found.tend()
        assert found.current().client.token == token
    clock.now += 599.0
    assert found.current().client.token == token, "counted from the last renewal"
    assert ttl(admin, found) > 590


def test_a_token_is_renewed_at_two_thirds_of_its_life_once_for_many_threads(
    role: Any, sessions: Any, clock: Clock, admin: Admin
) -> None:
    found = sessions(approle(role(token_ttl="600s"), uses=1))
    first = found.current()
    clock.now += 399.0
    assert found.current() is first
    clock.now += 2.0
    with ThreadPoolExecutor(16) as pool:
        seen = {job.result() for job in [pool.submit(found.current) for _ in range(16)]}
    assert len(seen - {first}) == 1
    assert {session.client.token for session in seen} == {first.client.token}


def test_a_thread_that_saw_a_token_end_takes_what_another_has_renewed_meanwhile(
    role: Any, sessions: Any, clock: Clock
) -> None:
    found = sessions(approle(role(token_ttl="600s"), uses=1))
    ended = found.current()
    clock.now += 401.0
    found.tend()
    assert found._logged_in(ended, rejected=False) is found.current()
    assert found.current() is not ended
    with pytest.raises(Failed):
        found.replacement(ended)  # the token itself is not taken: only a login helps, and the secret id is used up


def test_near_its_longest_life_a_token_is_replaced_by_a_new_login(role: Any, sessions: Any, clock: Clock) -> None:
    # Vault's own clock stands still, so the longest life is that of the first renewal.
    found = sessions(approle(role(token_ttl="600s", token_max_ttl="601s"), uses=2))
    first = found.current().client.token
    clock.now += 401.0
    found.tend()
    assert found.current().client.token == first, "what it gives is as good as new"
    found._session = _with_full_life(found.current(), 1_300.0)
    clock.now += 401.0
    found.tend()
    assert found.current().client.token != first


def _with_full_life(session: Any, full: float) -> Any:
    from dataclasses import replace

    return replace(session, life=replace(session.life, full=full))


def test_a_token_that_can_not_be_renewed_and_a_login_that_is_refused_serve_to_the_end(
    admin: Admin, role: Any, sessions: Any, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    made = role(token_ttl="600s", token_type="batch")
    found = sessions(approle(made, uses=1))
    first = found.current()
    for _ in range(5):
        clock.now += 100.0
        found.tend()
        assert found.current() is first
    clock.now += 99.0
    assert found.current() is first
    clock.now += 1.0
    assert "refused the login" in refused(found)
    assert "which ends in" in caplog.text


@pytest.mark.parametrize("way", ["token", "token-file"])
def test_a_periodic_token_that_was_given_is_renewed_for_ever(
    way: str, admin: Admin, sessions: Any, clock: Clock, tmp_path: Path
) -> None:
    token = admin.new_token("default", period="600s")
    (tmp_path / "token").write_text(token)
    login = GivenToken(token) if way == "token" else TokenFile(SecretFile(tmp_path / "token", "token_file"))
    found = sessions(login)
    found.current()
    clock.now += 3.0
    assert found.tend() == pytest.approx(400, abs=10)
    for _ in range(10):
        clock.now += 401.0
        found.tend()
        assert found.current().client.token == token
    assert found.end_of_token() is None


def test_a_token_that_ends_and_can_not_be_replaced_is_warned_of_ahead(
    admin: Admin, sessions: Any, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    found = sessions(GivenToken(admin.new_token("default", ttl="1h", renewable=False)))
    found.current()
    found.look()
    assert found.end_of_token() == pytest.approx(3_600, abs=10)
    assert "ends in 60 min" in caplog.text
    assert found.current().client.token not in caplog.text
    clock.now += 2_401.0
    found.tend()
    assert caplog.text.count("there is no login to get another") == 2


def test_a_token_without_an_end_is_left_alone(admin: Admin, sessions: Any, clock: Clock) -> None:
    found = sessions(GivenToken(admin.token))
    found.current()
    found.look()
    assert found.end_of_token() is None
    clock.now += 1e9
    assert found.tend() > 1e9
    assert found.current().client.token == admin.token


def test_a_token_that_may_not_look_itself_up_serves(admin: Admin, sessions: Any, clock: Clock) -> None:
    found = sessions(GivenToken(admin.new_token("nothing", ttl="1h", no_default_policy=True)))
    first = found.current().client.token
    clock.now += 4.0
    found.tend()
    assert found.current().client.token == first
    assert found.end_of_token() is None


def test_the_doctor_can_tell_when_a_token_ends(admin: Admin) -> None:
    name = admin.key()
    token = admin.new_token(admin.user_policy(name), ttl="1h", renewable=False)
    key = VaultTransit(name, address=admin.address, token=token)
    assert [text for text, _ in key.notices()] == [
        "the Vault token ends in 60 min, and there is no login to get another"
    ]
    key.close()
    other = VaultTransit(name, address=admin.address, token=admin.new_token(admin.user_policy(name), period="1h"))
    assert other.notices() == []
    other.close()


# --- refusals


def logins(admin: Admin, made: Role, secret_id: str) -> bool:
    """Whether a login of the role is let in."""
    client = hvac.Client(url=admin.address)
    try:
        return bool(client.auth.approle.login(made.role_id, secret_id))
    except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
        return False
    finally:
        client.session.close()


def test_a_dead_secret_id_does_not_lock_the_role_for_others(
    admin: Admin, role: Any, caplog: pytest.LogCaptureFixture
) -> None:
    name = admin.key()
    made = role(token_policies=[admin.user_policy(name)])
    keys = [
        VaultTransit(name, address=admin.address, auth="approle", role_id=made.role_id, secret_id="dead")
        for _ in range(3)
    ]
    for _ in range(20):
        for key in keys:
            failure(KmsUnavailable, partial(key.wrap, SECRET, CONTEXT), "refused the login")
    for key in keys:
        key.close()
    again = VaultTransit(name, address=admin.address, auth="approle", role_id=made.role_id, secret_id="dead")
    failure(KmsUnavailable, lambda: again.wrap(SECRET, CONTEXT), "refused the login")
    again.close()
    assert logins(admin, made, made.new_secret_id(1)), "the role is locked"
    told = [record.getMessage() for record in caplog.records if "Not tried again" in record.getMessage()]
    assert len(told) == 1
    assert "dead" not in told[0]


def test_a_refused_login_is_tried_again_at_once_with_another_credential(
    admin: Admin, role: Any, tmp_path: Path
) -> None:
    name = admin.key()
    made = role(token_policies=[admin.user_policy(name)])
    file = tmp_path / "secret-id"
    file.write_text("dead")
    key = VaultTransit(name, address=admin.address, auth="approle", role_id=made.role_id, secret_id_file=str(file))
    for _ in range(3):
        failure(KmsUnavailable, lambda: key.wrap(SECRET, CONTEXT), "refused the login")
    file.write_text(made.new_secret_id(1))
    assert opens(key)
    key.close()


def test_a_refused_login_is_tried_again_after_half_an_hour_then_after_longer(
    admin: Admin, role: Any, sessions: Any, clock: Clock
) -> None:
    tries: list[float] = []

    class Counted(AppRole):
        def grant(self, client: hvac.Client, credential: str) -> Any:
            tries.append(clock.now)
            return super().grant(client, credential)

    begun = clock.now
    found = sessions(Counted(role().role_id, lambda: "dead", "approle"))
    for _ in range(8 * 3_600 // 60):
        refused(found)
        clock.now += 60.0
    assert [round((at - begun) / 60) for at in tries] == [0, 30, 90, 210, 450]


def test_a_locked_role_is_told_and_tried_again_when_the_lock_has_passed(
    admin: Admin, role: Any, sessions: Any, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    made = role()
    for number in range(6):
        assert not logins(admin, made, f"wrong-{number}")
    found = sessions(approle(made))
    assert "locked" in refused(found)
    assert "locked" in caplog.text
    accessor = admin.client.sys.list_auth_methods()["data"]["approle/"]["accessor"]
    admin.client.write_data(f"sys/locked-users/{accessor}/unlock/{made.role_id}", data={})
    clock.now += 890.0
    assert "locked" in refused(found)
    clock.now += 20.0
    assert found.current().client.token


def test_keys_that_log_in_alike_share_one_login_and_its_end(admin: Admin, role: Any) -> None:
    names = [admin.key() for _ in range(4)]
    made = role(token_policies=[admin.user_policy(name) for name in names])
    secret_id = made.new_secret_id(1)
    keys = [
        VaultTransit(name, address=admin.address, auth="approle", role_id=made.role_id, secret_id=secret_id)
        for name in names
    ]
    assert all(opens(key) for key in keys)
    keys.pop().close()
    assert all(opens(key) for key in keys)
    for key in keys:
        key.close()
    assert not [place for place in _shared.shared.get()._entries if made.role_id in place[1]]


# --- fork

FORKED = """
import os, signal, sys
from envelope_codec_vault import VaultTransit

def serve(key):
    assert key.unwrap(key.wrap(b"7" * 32, {"a": "b"}), {"a": "b"}).secret == b"7" * 32

name, address, role_id, secret_id = sys.argv[1:]
key = VaultTransit(name, address=address, auth="approle", role_id=role_id, secret_id=secret_id)
serve(key)
token = key._sessions().current().client.token
for _ in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        serve(key)
        sessions = key._sessions()
        assert sessions.current().client.token == token, "the secret id was used again"
        sessions._tend_at = 0.0
        sessions.tend()
        assert sessions.current().since > 0 and sessions.current().client.token == token
        key.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    serve(key)
key.close()
"""


def test_a_forked_child_goes_on_with_its_parent_s_token_and_renews_it_itself(admin: Admin, role: Any) -> None:
    name = admin.key()
    made = role(token_policies=[admin.user_policy(name)], token_ttl="600s")
    arguments = [name, admin.address, made.role_id, made.new_secret_id(1)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_child_remembers_what_its_parent_was_refused(admin: Admin, role: Any) -> None:
    made = role()
    endpoint = Endpoint(admin.address, "", True, 2.0, 5.0)
    login = AppRole(made.role_id, lambda: "dead", "approle", "source")
    parents = SharedSessions(None)
    refused(parents.take(endpoint, login))

    class Silent(AppRole):
        def grant(self, client: hvac.Client, credential: str) -> Any:
            raise AssertionError("tried again")

    child = SharedSessions(parents)
    refused(child.take(endpoint, Silent(made.role_id, lambda: "dead", "approle", "source")))


# --- whose policy


def test_a_token_of_another_namespace_is_told_as_that(admin: Admin) -> None:
    team = f"team-{secrets.token_hex(4)}"
    name = admin.key()
    admin.client.sys.create_namespace(path=team)
    with administered(admin.address, admin.token, namespace=team) as inner:
        token = inner.new_token(inner.user_policy(name), ttl="1h")
    key = VaultTransit(name, address=admin.address, token=token)
    failure(KeyDenied, lambda: key.wrap(SECRET, CONTEXT), "another namespace")
    key.close()


def test_a_policy_that_names_the_path_is_not_blamed(admin: Admin) -> None:
    name = admin.key()
    policy = f"policy-{secrets.token_hex(6)}"
    rule = f'path "transit/encrypt/{name}" {{ capabilities = ["update"] allowed_parameters = {{ "plaintext" = [] }} }}'
    admin.client.sys.create_or_update_policy(policy, rule)
    key = VaultTransit(name, address=admin.address, token=admin.new_token(policy, ttl="1h"))
    failure(KeyDenied, lambda: key.wrap(SECRET, CONTEXT), "though the token's policies name")
    key.close()
    other = VaultTransit(name, address=admin.address, token=admin.new_token("default", ttl="1h"))
    failure(KeyDenied, lambda: other.wrap(SECRET, CONTEXT), "permission to use the key is missing")
    other.close()
