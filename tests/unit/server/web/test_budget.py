"""Budgets: nobody gets so much that others get nothing."""

from __future__ import annotations

import pytest

from envelope_codec.server.web.budget import UNBOUNDED, Budget, Lack


def test_one_caller_gets_its_own_and_others_what_is_left() -> None:
    budget = Budget(100, 16)
    assert [budget.take("mallory") for _ in range(16)] == [None] * 16
    assert budget.take("mallory") is Lack.own
    assert budget.take("ada") is None
    budget.give_back("mallory", 16)
    budget.give_back("ada")
    assert (budget.used, budget.callers) == (0, 0)


@pytest.mark.parametrize("names", [1, 2, 7, 20, 40])
def test_however_many_names_one_has_something_is_left_for_the_next(names: int) -> None:
    budget = Budget(100, 100)
    while [n for n in range(names) if budget.take(f"mallory-{n}") is None]:
        pass
    assert budget.take("ada") is None
    assert budget.used <= 100 - 100 // (2 * names + 1) + 1


def test_what_is_not_there_nobody_gets() -> None:
    budget = Budget(10, 100)
    assert budget.take("ada", 11) is Lack.all
    assert budget.take("ada", 10) is None
    assert budget.take("bob") is Lack.all
    small = Budget(2, 16)  # too few to share
    assert [small.take("ada") for _ in range(3)] == [None, None, Lack.all]
    assert [Budget(UNBOUNDED, 1).take("ada", n) for n in (1, 2)] == [None, Lack.own]
