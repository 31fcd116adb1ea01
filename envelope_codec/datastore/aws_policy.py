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
