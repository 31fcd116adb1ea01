"""The states of a sealing key, of a lease and of a breaker, and what leads from one to the other."""

from __future__ import annotations

from tools.pictures.drawing import Picture

_ROUND = 16


def sealing_key_states() -> Picture:
    """Draw the stages of a wrapping key that seals: `Stage` and `STAGE_AFTER` in keys/sealing_key.py."""
    title = "Stages of a sealing key: fresh, ripe, spent, overdrawn."
    picture = Picture("sealing-key-states", title, 940, 278)
    start = picture.start(24, 112)
    fresh = picture.box(
        126, 72, 190, "FRESH", "seals; no next key", "is wanted yet", style="sealed", height=80, round=_ROUND
    )
    ripe = picture.box(
        440, 72, 190, "RIPE", "seals; the next key there is", "takes its place", style="sealed", height=80, round=_ROUND
    )
    spent = picture.box(754, 72, 170, "SPENT", "seals no more:", "callers wait", style="bad", height=80, round=_ROUND)
    overdrawn = picture.box(754, 212, 170, "OVERDRAWN", "seals in an outage", style="kms", height=54, round=_ROUND)
    picture.arrow(start, fresh.left, label="wrapped,\nopened once", at=(72, 86))
    ripening = "80 to 90 % of max_age,\nor of max_payloads,\nor renew()"
    picture.arrow(fresh.right, ripe.left, label=ripening, at=(378, 51))
    picture.arrow(ripe.right, spent.left, label="more than\nmax_payloads", at=(691, 88))
    picture.arrow(fresh.at_top(0.6), (240, 34), (839, 34), spent.top, label="more than max_payloads", at=(600, 26))
    outage = "max_age is over, and no KMS answers: it goes on as RIPE"
    picture.arrow(fresh.at_bottom(0.6), (240, 186), (535, 186), ripe.bottom, label=outage, at=(388, 204))
    picture.arrow(spent.bottom, overdrawn.top, label="no KMS answers", at=(780, 186))
    picture.text(
        126, 242, "Besides its stage it has an age: past max_age it seals no more. While no KMS answers,", "muted"
    )
    picture.text(126, 258, "its age is extended by 120 s, and every 10 s the next key is asked for.", "muted")
    return picture


def lease_states() -> Picture:
    """Draw the states of a lease: `LeaseState` and `STATE_AFTER` in keys/lease.py."""
    title = "States of a lease: answered, unanswered, denied."
    picture = Picture("lease-states", title, 940, 268)
    start = picture.start(24, 84)
    answered = picture.box(
        126, 44, 220, "ANSWERED", "vouches until its own end", "(lease, 5 min)", style="sealed", height=80, round=_ROUND
    )
    unanswered = picture.box(
        600,
        44,
        240,
        "UNANSWERED",
        "vouches until its own end",
        "and for outage_grace after that",
        style="kms",
        height=80,
        round=_ROUND,
    )
    denied = picture.box(374, 184, 200, "DENIED, for good", "its keys are wiped", style="bad", height=54, round=_ROUND)
    picture.arrow(start, answered.left, label="first\nsuccess", at=(76, 56))
    picture.arrow(answered.at_right(0.3), unanswered.at_left(0.3), label="a renewal gets no answer", at=(473, 62))
    back = "a success: a new end\na corrupt witness: no grace"
    picture.arrow(unanswered.at_left(0.7), answered.at_right(0.7), label=back, at=(473, 120), slow=True)
    picture.arrow(answered.bottom, (236, 211), denied.left, label="KeyDenied", at=(304, 204))
    picture.arrow(unanswered.bottom, (720, 211), denied.right, label="KeyDenied", at=(648, 204))
    picture.arrow(
        answered.at_top(0.7), (280, 24), (192, 24), answered.at_top(0.3), label="a success: a new end", at=(360, 30)
    )
    picture.text(126, 258, "Past its end it vouches for nothing, until the next caller's renewal succeeds.", "muted")
    return picture


def breaker_states() -> Picture:
    """Draw the states of a breaker: `BreakerState` in keys/breaker.py."""
    title = "States of a breaker: closed, open, half-open."
    picture = Picture("breaker-states", title, 940, 190)
    start = picture.start(24, 82)
    closed = picture.box(
        100, 50, 180, "CLOSED", "this master key is asked", "in its turn", style="sealed", round=_ROUND
    )
    opened = picture.box(416, 50, 180, "OPEN", "asked last, only if", "no other serves", style="bad", round=_ROUND)
    probing = picture.box(
        744, 50, 180, "HALF_OPEN", "one caller finds out,", "in the background", style="kms", round=_ROUND
    )
    picture.arrow(start, closed.left)
    picture.arrow(closed.at_right(0.3), opened.at_left(0.3), label="no answer", at=(348, 62))
    picture.arrow(opened.at_left(0.75), closed.at_right(0.75), label="an answer", at=(348, 116), slow=True)
    picture.arrow(opened.at_right(0.3), probing.at_left(0.3), label="after 1 to 30 s", at=(670, 62))
    waits = "no answer:\na longer wait"
    picture.arrow(probing.at_left(0.75), opened.at_right(0.75), label=waits, at=(670, 116), slow=True)
    told = "an answer; a refusal is one as well"
    picture.arrow(probing.bottom, (834, 166), (190, 166), closed.bottom, label=told, at=(506, 158), slow=True)
    return picture
