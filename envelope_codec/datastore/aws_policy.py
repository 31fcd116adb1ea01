"""A policy of AWS's IAM, as people paste it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any


def aws_policy(statements: Iterable[tuple[Sequence[str], str]]) -> str:
    """Return the policy that allows these actions, each list of them on one resource."""
    document: dict[str, Any] = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": list(actions), "Resource": resource} for actions, resource in statements
        ],
    }
    return json.dumps(document, indent=2)


def with_role(policy: str, role: str | None) -> str:
    """Return ``policy``, and where a role is assumed to use what it allows, the policy of those who assume it too."""
    if role is None:
        return policy
    assuming = aws_policy([(["sts:AssumeRole"], role)])
    whom = "The credentials that assume it need, besides leave by its trust policy:"
    return f"{policy}\nThat is for {role}. {whom}\n{assuming}"
