"""Mutation testing of the wire format and the keys: change the code in one place, see whether a test fails.

``make mutation`` runs ``python -m tools.mutation``. The operators are those of mutmut, and three of our own. The runner
of mutmut copies each function many times, which changes frames, and tests look at frames for secrets. So the runner is
ours: it collects the tests once, and forks for each mutant.
"""
