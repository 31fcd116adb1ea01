"""Faults, and their schedule: the same for the same seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

ALL_KEYS = "all keys"
"""The target of what happens to both master keys at once."""

_SETTLING = 6.0
"""Seconds that a target is left alone after a fault, so that it does its work in between."""

_ROTATIONS = 10
"""How often AWS rotates a key on demand at most."""


class Fault(NamedTuple):
    """One thing that goes wrong, or is changed.

    Attributes:
        at: when it begins, in seconds from the beginning of the schedule.
        kind: what is done.
        target: to whom.
        seconds: how long it lasts. What brings the target back comes on top.
        amount: by how much, in seconds, where the kind has an amount: delay, skew of a clock; else 0.
    """

    at: float
    kind: str
    target: str
    seconds: float
    amount: float = 0.0

    def __str__(self) -> str:
        amount = f", {self.amount:+g} s" if self.amount else ""
        return f"{self.at:7.1f} s  {self.kind} {self.target}, {self.seconds:.1f} s long{amount}"


class Recipe(NamedTuple):
    """What a fault of one kind with one target may be: shortest and longest time, and amounts to choose from."""

    kind: str
    target: str
    shortest: float = 0.0
    longest: float = 0.0
    amounts: tuple[float, ...] = (0.0,)


_DELAYS = (0.1, 0.25, 0.5)
_SKEWS = (-7_200.0, -90.0, 45.0, 600.0, 90_000.0)

RECIPES: tuple[Recipe, ...] = (
    Recipe("kill", "temporal", 0.5, 2.0),
    Recipe("pause", "temporal", 2.0, 5.0),
    Recipe("slow", "temporal", 4.0, 8.0, (0.05, 0.1, 0.2)),
    Recipe("cut", "temporal", 1.0, 3.0),
    *(
        recipe
        for target in ("vault", "aws")
        for recipe in (
            Recipe("kill", target, 0.5, 4.0),
            Recipe("pause", target, 2.0, 6.0),
            Recipe("slow", target, 4.0, 8.0, (0.5, 1.0, 3.0)),
            Recipe("throttle", target, 5.0, 10.0),
            Recipe("cut", target, 2.0, 5.0),
            Recipe("revoke", target, 3.0, 8.0),
            Recipe("rotate", target),
        )
    ),
    Recipe("revoke", ALL_KEYS, 2.0, 5.0),
    Recipe("pause", ALL_KEYS, 3.0, 8.0),
    Recipe("kill", "store", 0.5, 3.0),
    Recipe("pause", "store", 2.0, 5.0),
    Recipe("slow", "store", 4.0, 8.0, _DELAYS),
    Recipe("cut", "store", 1.0, 4.0),
    Recipe("fill", "store", 2.0, 5.0),
    Recipe("kill", "keystore", 0.5, 3.0),
    Recipe("pause", "keystore", 2.0, 6.0),
    Recipe("slow", "keystore", 4.0, 8.0, _DELAYS),
    Recipe("cut", "keystore", 1.0, 4.0),
    Recipe("kill", "codec", 0.5, 2.0),
    Recipe("pause", "codec", 2.0, 5.0),
    Recipe("restart", "codec"),
    Recipe("renew", "codec"),
    Recipe("kill", "worker-1", 0.5, 3.0),
    Recipe("pause", "worker-1", 2.0, 12.0),
    Recipe("restart", "worker-1"),
    Recipe("kill", "worker-2", 0.5, 3.0),
    Recipe("pause", "worker-2", 2.0, 6.0),
    Recipe("skew", "worker-2", 3.0, 10.0, _SKEWS),
    Recipe("fork", "worker-2"),
    # What its memory, threads and files come to shows only in a worker that is never ended.
    Recipe("pause", "worker-0", 2.0, 6.0),
    Recipe("fork", "worker-0"),
)
"""A schedule takes each of them once, as far as its target is free, before it takes one again."""


def schedule(seed: int, seconds: float, every: float, recipes: Sequence[Recipe] = RECIPES) -> list[Fault]:
    """Faults for so many seconds, one each ``every`` seconds in the mean.

    No two faults of one target overlap. Those of different targets may.
    """
    chance = random.Random(seed)
    deck: list[Recipe] = []
    free: dict[str, float] = {}
    taken: Counter[Recipe] = Counter()
    faults: list[Fault] = []
    at = 0.0
    while True:
        at += every * chance.uniform(0.5, 1.5)
        if not any(_is_free(card, at, free, taken) for card in deck):
            deck += chance.sample(recipes, len(recipes))
        recipe = next((card for card in deck if _is_free(card, at, free, taken)), None)
        length = round(chance.uniform(recipe.shortest, recipe.longest), 1) if recipe else 0.0
        if at + length > seconds:
            return faults
        if recipe is None:
            continue  # each target is busy
        deck.remove(recipe)
        taken[recipe] += 1
        for target in _touched(recipe.target):
            free[target] = at + length + _SETTLING
        faults.append(Fault(round(at, 1), recipe.kind, recipe.target, length, chance.choice(recipe.amounts)))


def _touched(target: str) -> tuple[str, ...]:
    return ("vault", "aws") if target == ALL_KEYS else (target,)


def _is_free(recipe: Recipe, at: float, free: Mapping[str, float], taken: Counter[Recipe]) -> bool:
    rotated = recipe.kind == "rotate" and taken[recipe] >= _ROTATIONS
    return not rotated and all(free.get(target, 0.0) <= at for target in _touched(recipe.target))
