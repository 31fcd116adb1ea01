"""The right result of each kind of workflow, written down by hand and not by the workflows' code."""

from __future__ import annotations

GROWN = 600
"""How often the text of a large payload is repeated."""

LETTERS = 3
ENTRIES = 2


def expected(kind: str, text: str) -> str:
    """What a workflow of this kind with this text returns; or what its failure says, message and detail."""
    results = {
        "short": f"{text}.short",
        "chain": f"{text}.a.b",
        "local": f"{text}.local.c",
        "mailbox": f"{text}/0|{text}/1|{text}/2",
        "ledger": f"{text}/0.entered|{text}/1.entered",
        "parent": f"{text}.0.short|{text}.1.local.c",
        "rounds": f"{text}.0.1.2",
        "failing": f"planned: planned: {text} {text}.detail.seen",
        "large": text * (GROWN // 2),
        "memo": f"{text}|{text}",
        "beats": f"{text}.beaten.resumed",
        "schedule": f"{text}.a.b",
    }
    return results[kind]
