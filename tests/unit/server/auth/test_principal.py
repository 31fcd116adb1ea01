"""Which claims of the two tokens count, and what a caller is counted under."""

from __future__ import annotations

from typing import Any

import pytest

from envelope_codec.server.auth.principal import Principal, caller_key, merge_claims


@pytest.mark.parametrize(
    ("claims", "id_claims", "email"),
    [
        ({"email": "a"}, {}, "a"),
        ({"email": "a", "email_verified": True}, {}, "a"),
        ({"email": "a", "email_verified": "true"}, {}, "a"),
        ({"email": "a", "email_verified": False}, {}, ""),
        ({"email": "a", "email_verified": "false"}, {}, ""),
        ({"email": "a", "email_verified": None}, {}, ""),
        ({"email": ["a"]}, {}, ""),
        ({}, {"email": "i"}, "i"),
        ({}, {"email": "i", "email_verified": False}, ""),
        ({"email_verified": True}, {"email": "i", "email_verified": False}, ""),
        ({"email_verified": False}, {"email": "i", "email_verified": True}, "i"),
        ({"email": "a"}, {"email": "i", "email_verified": True}, "a"),
        ({"email": "a", "email_verified": False}, {"email": "i", "email_verified": True}, ""),
        ({"email": "a"}, {"email": "i", "email_verified": False}, "a"),
    ],
)
def test_an_address_counts_unless_its_own_token_says_that_it_is_unverified(
    claims: dict[str, Any], id_claims: dict[str, Any], email: str
) -> None:
    found = merge_claims(claims, id_claims, "email")
    assert Principal("i", "s", found).email == email
    assert ("email" in found) is bool(email or isinstance(claims.get("email"), list))


def test_an_address_under_another_name_is_an_address() -> None:
    assert merge_claims({"https://x/email": "a"}, {}, "https://x/email")["email"] == "a"
    found = merge_claims({"https://x/email": "a", "email_verified": False}, {}, "https://x/email")
    assert "email" not in found
    assert "https://x/email" not in found
    assert merge_claims({"https://x/email": "a"}, {"email": "i"}, "https://x/email")["email"] == "a"


def test_an_id_token_adds_what_the_access_token_lacks_and_nothing_that_a_token_is_for() -> None:
    id_claims = {
        "sub": "s2",
        "iss": "i2",
        "scope": "all",
        "scp": "all",
        "aud": "x",
        "exp": 1,
        "groups": ["g"],
        "name": "n",
    }
    found = merge_claims({"sub": "s", "iss": "i", "groups": []}, id_claims, "email")
    assert found == {"sub": "s", "iss": "i", "groups": [], "name": "n"}


def test_a_caller_is_counted_by_its_subject_from_wherever_it_comes() -> None:
    ada = Principal("i", "ada")
    assert caller_key(ada, "192.0.2.1") == caller_key(ada, "192.0.2.2")
    assert caller_key(ada, "") != caller_key(Principal("j", "ada"), "")
    assert caller_key(Principal(), "2001:db8::1") == caller_key(Principal(), "2001:db8::2") != caller_key(ada, "")
