"""How many KMS calls a fleet makes, in closed form.

Terms: a *pair* is a process and a writer whose payloads it opens. An *episode* of a pair is the time in which neither
the writer's wrapping key nor the process changes; within one, the first payload costs an unwrap.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

from benchmarks.fleet_shape import Fleet, Role
from envelope_codec.keys.limits import Limits

_QUANTILES = [0.8 + 0.1 * (number + 0.5) / 100 for number in range(100)]  # of its term, when it is replaced


class Calls(NamedTuple):
    """Calls a second of a whole fleet, by what causes them."""

    sealing: float
    first: float
    replays: float
    renewals: float

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self)


def steady(fleet: Fleet) -> Calls:
    """Calls a second once every process has been up for long."""
    return Calls(*map(sum, zip(*(_steady(fleet, role) for role in fleet.roles), strict=True)))


def startup(fleet: Fleet, seconds: int) -> list[float]:
    """Calls in each second after all processes were started at once, by a KMS that answers all of them."""
    return [sum(calls) for calls in zip(*(_startup(fleet, role, seconds) for role in fleet.roles), strict=True)]


def deploy(fleet: Fleet) -> float:
    """Calls that the start of all processes at once costs, over what would have been called for without it."""
    if fleet.direct:
        return 0.0
    return sum(
        role.processes * (2 + role.writers - _told(fleet) + min(old_keys(fleet, role), max(0, _room(fleet, role))))
        for role in fleet.roles
    )


def key_life(limits: Limits, sealed: float) -> float:
    """Seconds for which a wrapping key seals ``sealed`` payloads a second, until the next is prepared."""
    return sum(_QUANTILES) / len(_QUANTILES) * _term(limits, sealed)


def _term(limits: Limits, sealed: float) -> float:
    """Seconds for which a wrapping key may seal ``sealed`` payloads a second at most."""
    return min(limits.max_age, limits.max_payloads / sealed)


def key_rate(fleet: Fleet, sealed: float) -> float:
    """Wrapping keys a second that a writer makes."""
    life = key_life(fleet.limits, sealed)
    if fleet.lifetime == math.inf:
        return 1 / life
    return (1 + fleet.lifetime // life) / fleet.lifetime


def old_keys(fleet: Fleet, role: Role) -> float:
    """Wrapping keys that the histories hold which one process replays."""
    return role.writers * fleet.history * 86_400 * key_rate(fleet, role.sealed) if fleet.replayed else 0.0


def unwraps(seconds: float, rate: float, ttl: float) -> float:
    """Unwraps of one wrapping key in an episode: a payload comes ``rate`` times a second, a key is kept for ``ttl``.

    The k-th unwrap happens if k waits for a payload and the k - 1 times that the key was kept fit into the episode.
    """
    total, waits = 0.0, 1
    while (left := seconds - (waits - 1) * ttl) > 0:
        total += _erlang(waits, rate * left)
        waits += 1
    return total


def renewal_rate(uses: float, others: float, lease: float) -> float:
    """Renewals a second of a lease in one process, where ``others`` unwraps a second renew it as well.

    Used, it is renewed after 70 to 80 % of its time; used only then, after 95 %; not at all, when it is used next.
    """
    idle = math.exp(-0.75 * lease * uses)
    cycle = 0.75 * lease + idle * (0.2 * lease + math.exp(-0.2 * lease * uses) * (0.05 * lease + 1 / uses))
    unmet = math.exp(-others * cycle)  # chance that no other unwrap comes first
    return others * unmet / (1 - unmet) if others * cycle > 1e-9 else 1 / cycle


def _steady(fleet: Fleet, role: Role) -> Calls:
    limits, own = fleet.limits, _sealed_by(fleet, role)
    if fleet.direct:
        return Calls(role.processes * own, role.processes * role.rate, 0, 0)
    keys = key_rate(fleet, own)
    first, bursts = _first(fleet, role), _bursts(fleet, role)
    replays = _replays(fleet, role)
    even = first - bursts.unwraps + replays + keys * fleet.verify_wraps
    uses = role.rate + own * fleet.verify_wraps
    if not fleet.proves_version:
        return Calls(
            *(role.processes * calls for calls in (2 * keys, first, replays, _renewals_of_records(fleet, role)))
        )
    quiet = max(0.0, 1 - bursts.time - bursts.number * 0.375 * limits.lease)  # a burst delays the renewal that follows
    renewals = quiet * renewal_rate(uses, even, limits.lease)
    renewals += bursts.time * renewal_rate(uses, even + bursts.unwraps / bursts.time, limits.lease)
    if not fleet.verify_wraps:  # sealing has a lease of its own, renewed by wrapping
        renewals += renewal_rate(own, keys, limits.lease)
    return Calls(*(role.processes * calls for calls in (2 * keys, first, replays, renewals)))


def _renewals_of_records(fleet: Fleet, role: Role) -> float:
    """Renewals a second in one process where each record has a lease of its own: of those that it opens and of the one
    that it seals under, which may be one of them.
    """
    lease, own = fleet.limits.lease, _sealed_by(fleet, role)
    opened, old = role.rate / role.writers, old_keys(fleet, role)
    reads_own = len(fleet.roles) == 1
    renewals = (role.writers - reads_own) * renewal_rate(opened, 0.0, lease)
    if fleet.verify_wraps:
        renewals += renewal_rate(own + opened * reads_own, 0.0, lease)
    else:  # sealing has a lease that wrapping renews
        renewals += reads_own * renewal_rate(opened, 0.0, lease) + renewal_rate(own, 0.0, lease)
    return renewals + (old * renewal_rate(fleet.replayed / old, 0.0, lease) if old else 0.0)


def _first(fleet: Fleet, role: Role) -> float:
    """First unwraps a second in one process, and those of keys in use that the cache forgot."""
    episode, told, ttl = _episode(fleet, role), _told(fleet), fleet.limits.cache_ttl
    rate, own = role.rate / role.writers, 1 / key_rate(fleet, role.sealed)
    return (role.writers - told) / episode * unwraps(episode, rate, ttl) + told / own * unwraps(own - ttl, rate, ttl)


def _told(fleet: Fleet) -> int:
    """How many of the writers whose payloads a process opens is the process itself, which needs no unwrap for that."""
    return int(fleet.verify_wraps and not fleet.starters)


def _bursts(fleet: Fleet, role: Role) -> _Bursts:
    """First unwraps do not come evenly.

    Writers that were started at once replace their keys at nearly the same time, and what was unwrapped at the same
    time leaves the cache at the same time. A process that was started anew needs all keys at once.
    """
    limits, first, episode = fleet.limits, _first(fleet, role), _episode(fleet, role)
    width = role.writers / role.rate  # seconds until most writers' payloads have come
    if fleet.lifetime < math.inf:
        return _Bursts(1 / fleet.lifetime, first * episode / fleet.lifetime, min(1.0, width / fleet.lifetime))
    each = max(1.0, first * episode / role.writers)
    spread = 0.1 * _term(limits, role.sealed)
    return _Bursts(each / episode, first, min(1.0, (spread + width * each) / episode))


class _Bursts(NamedTuple):
    """In one process: how many a second, how many unwraps a second in them, and the share of time that they take."""

    number: float
    unwraps: float
    time: float


def _episode(fleet: Fleet, role: Role) -> float:
    return 1 / (key_rate(fleet, role.sealed) + 1 / fleet.lifetime)


def _sealed_by(fleet: Fleet, role: Role) -> float:
    """Payloads a second that a process of this role seals: what the other role, if there is one, opens of it."""
    return next((other.sealed for other in fleet.roles if other is not role), role.sealed)


def _room(fleet: Fleet, role: Role) -> float:
    """Entries of the cache that the keys in use leave for old ones."""
    in_use = role.writers * max(1.0, fleet.limits.cache_ttl * key_rate(fleet, role.sealed))
    return fleet.limits.cache_size - in_use


def _replays(fleet: Fleet, role: Role) -> float:
    """Unwraps a second of old keys in one process: each is kept for the TTL, unless there is no room for all."""
    old = old_keys(fleet, role)
    if not old:
        return 0.0
    missed = old / (fleet.limits.cache_ttl + old / fleet.replayed)
    return max(missed, fleet.replayed * (1 - max(0.0, _room(fleet, role)) / old))


def _startup(fleet: Fleet, role: Role, seconds: int) -> list[float]:
    own = _sealed_by(fleet, role)
    total = [0.0]
    for second in range(1, seconds + 1):
        called = second - fleet.latency  # a call is counted when it is answered
        if fleet.direct:
            calls = (own + role.rate) * _up_for(fleet, called, 1)
        else:
            opened = _up_for(fleet, called - 2 * fleet.latency, 2) * role.rate / role.writers
            calls = 2 * _up(fleet, called) + (role.writers - _told(fleet)) * -math.expm1(-opened)
            old = old_keys(fleet, role)
            if old:
                replayed = _up_for(fleet, called - 2 * fleet.latency, 1) * fleet.replayed
                calls += old * -math.expm1(-replayed / old)
        total.append(role.processes * calls)
    return [later - earlier for earlier, later in pairwise(total)]


def _up(fleet: Fleet, time: float) -> float:
    """Share of the processes whose jitter is over."""
    return min(1.0, max(0.0, time / fleet.startup_jitter)) if fleet.startup_jitter else float(time > 0)


def _up_for(fleet: Fleet, time: float, together: int) -> float:
    """Seconds for which a process has been up on average, or two of them (``together`` = 2) at once."""
    jitter, time = fleet.startup_jitter, max(0.0, time)
    if time >= jitter:
        return time - jitter + jitter / (1 + together)
    return time ** (1 + together) / jitter**together / (1 + together)


def _erlang(count: int, mean: float) -> float:
    """Chance that at least ``count`` events of a Poisson process come where ``mean`` are expected."""
    terms = (math.exp(number * math.log(mean) - mean - math.lgamma(number + 1)) for number in range(count))
    return max(0.0, 1.0 - sum(terms))
