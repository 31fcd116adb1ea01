"""The decisions of the keyring: pure functions, which are told everything they go by."""

from __future__ import annotations

from collections.abc import Container
from enum import Enum
from typing import NamedTuple

from envelope_codec.keys.lease_name import LeaseName
from envelope_codec.keys.sealing_key import AtNextUse, Stage

# --- sealing --------------------------------------------------------------------------------------------------------


class Use(NamedTuple):
    """A decision: what a payload sets off, besides being sealed.

    Attributes:
        seals: whether the key may seal the payload at all.
        tries: whether the trials that wait for a use begin.
        prepares: whether the next key is prepared.
        then: what the payload after it sets off.
    """

    seals: bool
    tries: bool
    prepares: bool
    then: AtNextUse


def decide_use(stage: Stage, at_next_use: AtNextUse, *, over: bool, near_end: bool) -> Use:
    """Decide what a payload sets off, where it is one that sets off something.

    Args:
        stage: of the key.
        at_next_use: of the key.
        over: whether the payload's number is greater than the key's number of payloads.
        near_end: whether most of the key's payloads are sealed, or most of its time is over: 80 to 90 %.
    """
    if over and stage is not Stage.OVERDRAWN:
        return Use(False, False, False, at_next_use)
    if at_next_use is AtNextUse.WAIT:
        return Use(True, False, False, at_next_use)
    if at_next_use is AtNextUse.TRY:
        if stage is Stage.FRESH and not near_end:
            return Use(True, True, False, AtNextUse.NOTHING)
        return Use(True, True, True, AtNextUse.PREPARE)
    return Use(True, False, True, at_next_use)


def may_go_on(*, outage: bool, due: bool, vouched: bool) -> bool:
    """Decide whether the key in use goes on while the next one can't be had.

    Args:
        outage: whether the next one can't be had because a KMS gave no answer.
        due: whether the key is past its age or its number of payloads.
        vouched: whether a lease of it is live, grace included.
    """
    return vouched and (outage or not due)


class Choice(Enum):
    """A decision: which key seals from now on."""

    NEITHER = "none: the new one's leases were denied already; the next caller asks again"
    NEW = "the new one"
    OLD = "the one in use: with the new one, readers would open one more record for nothing"


def choose_key(*, denied: bool, usable: bool, old: Stage | None, old_lacks: int, new_lacks: int) -> Choice:
    """Decide between the key in use and a new one.

    Args:
        denied: whether all leases of the new one have been denied meanwhile.
        usable: whether the one in use seals at this moment.
        old: the stage of the one in use; None if there is none.
        old_lacks: how many recipients the one in use lacks.
        new_lacks: how many recipients the new one lacks.
    """
    if denied:
        return Choice.NEITHER
    complete = new_lacks == 0
    if old is None or old is not Stage.FRESH or not usable or complete or new_lacks < old_lacks:
        return Choice.NEW
    return Choice.OLD


class Start(Enum):
    """A decision: whether a call for a new key is made, where none is under way."""

    CALL = "a call is made"
    NONE = "nothing: there is no need of one"
    REFUSE = "the last refusal is repeated"


def start_in_background(*, in_use: bool, refused: bool) -> Start:
    """Decide on the next key, for which nobody waits.

    Args:
        in_use: whether the key that is to be followed is still in use.
        refused: whether a refusal still counts.
    """
    return Start.CALL if in_use and not refused else Start.NONE


def start_for_caller(*, usable: bool, refused: bool) -> Start:
    """Decide on a key for a caller who has found none.

    Args:
        usable: whether there is one by now.
        refused: whether a refusal still counts.
    """
    if usable:
        return Start.NONE
    return Start.REFUSE if refused else Start.CALL


def start_after_refusal(*, in_use: bool, refused: bool, seen: bool) -> Start:
    """Decide on another try for a caller who waits until a refusal passes.

    Args:
        in_use: whether there is a key by now.
        refused: whether the last answer was a refusal, however old.
        seen: whether that refusal is the one that the caller has seen.
    """
    if in_use or not refused:
        return Start.NONE
    return Start.CALL if seen else Start.REFUSE


# --- leases ---------------------------------------------------------------------------------------------------------


class Renewal(Enum):
    """A decision: what becomes of a lease when its timer fires."""

    RENEW = "it is renewed"
    RESCHEDULE = "its timer is set anew: another call has renewed it meanwhile"
    LOOK_AGAIN = "a last look is taken shortly before its end: it has not been used"
    LAPSE = "it may lapse: it has not been used"


def decide_renewal(*, retries: bool, early: bool, used: bool, near_end: bool) -> Renewal:
    """Decide whether a lease is renewed in the background.

    Args:
        retries: whether the last attempt got no answer: then it is renewed used or not, within its grace.
        early: whether it has more time left than when renewals begin.
        used: whether a payload was sealed or opened under it since its last renewal was sent.
        near_end: whether the last look is due.
    """
    if retries:
        return Renewal.RENEW
    if early:
        return Renewal.RESCHEDULE
    if used:
        return Renewal.RENEW
    return Renewal.LAPSE if near_end else Renewal.LOOK_AGAIN


def opens(name: LeaseName, masters: Container[int], seconds: float) -> bool:
    """Decide whether a lease of a new sealing key vouches for opening with that key as well.

    Args:
        name: of the lease. One that wrapping began says nothing of opening.
        masters: identities of the master keys that opening may ask: another object may have other credentials.
        seconds: how long a success vouches for opening, which may be another time than for sealing.
    """
    return name.request.operation == "unwrap" and name.request.master in masters and name.seconds == seconds


def believe(*, denied: bool, doubtful: bool, contested: bool) -> bool:
    """Decide whether a success counts, or the KMS is asked again.

    Args:
        denied: whether a lease of this very name was denied since the call was sent.
        doubtful: whether there is no lease, and something of the same request was refused since the call was sent.
        contested: whether an earlier answer was doubtful. Others' refusals must not keep a record from being opened.
    """
    return not denied and (contested or not doubtful)
