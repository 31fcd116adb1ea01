"""The states of a sealing key, of a lease and of a breaker, and what leads from one to the other."""

from __future__ import annotations

from tools.pictures.drawing import Picture

_ROUND = 16


def sealing_key_states() -> Picture:
    """Draw the life of a sealing key."""
    title = "States of a sealing key: fresh, ripe, extended, spent."
    picture = Picture("sealing-key-states", title, 940, 330)
    start = picture.start(24, 102)
    fresh = picture.box(
        118,
        62,
        170,
        "fresh",
        "seals",
        "",
        "its successor is prepared",
        "in time",
        style="sealed",
        round=_ROUND,
        height=100,
    )
    ripe = picture.box(
        436, 62, 190, "ripe", "seals; whatever successor", "there is takes its place", style="sealed", round=_ROUND
    )
    spent = picture.box(754, 62, 170, "spent", "seals nothing:", "callers wait for the next", style="bad", round=_ROUND)
    extended = picture.box(
        436, 222, 190, "extended", "seals for 120 s more,", "asked again every 10 s", style="kms", round=_ROUND
    )
    picture.arrow(start, fresh.at_left(0.4), label="wrapped,\nopened once", at=(70, 74))
    picture.arrow(
        fresh.at_right(0.3), ripe.left, label="80 to 90 % of max_age,\n90 % of max_payloads,\nor renew()", at=(362, 48)
    )
    picture.arrow(ripe.right, spent.left, label="max_age or\nmax_payloads", at=(690, 72))
    picture.arrow(
        ripe.at_bottom(0.3), extended.at_top(0.3), label="no KMS answers\nwhen the next is due", at=(424, 166)
    )
    picture.arrow(
        extended.at_right(0.3),
        (840, extended.at_right(0.3)[1]),
        spent.bottom,
        label="the lease and its grace are over",
        at=(736, 232),
    )
    picture.arrow(
        extended.at_left(0.5),
        (203, extended.left[1]),
        fresh.bottom,
        label="a KMS answers: replaced by the next",
        at=(320, 264),
        slow=True,
    )
    return picture


def lease_states() -> Picture:
    """Draw the life of a lease."""
    title = "States of a lease: live, in grace, lapsed, ended."
    picture = Picture("lease-states", title, 940, 330)
    start = picture.start(24, 102)
    live = picture.box(126, 62, 180, "live", "keys under it are used", style="sealed", round=_ROUND, height=80)
    grace = picture.box(
        452, 62, 180, "in grace", "keys under it are used", "up to outage_grace", style="kms", round=_ROUND, height=80
    )
    lapsed = picture.box(
        760, 62, 164, "lapsed", "no key is used before", "a call succeeds", style="plain", round=_ROUND, height=80
    )
    ended = picture.box(452, 240, 180, "ended, for good", "its keys are wiped", style="bad", round=_ROUND)
    picture.arrow(start, live.left, label="first\nsuccess", at=(76, 72))
    picture.arrow(live.at_right(0.3), grace.at_left(0.3), label="renewal gets no answer", at=(379, 78))
    picture.arrow(grace.at_left(0.75), live.at_right(0.75), label="an answer: a new end", at=(379, 138), slow=True)
    picture.arrow(grace.right, lapsed.left, label="grace is over", at=(696, 92))
    picture.arrow(
        live.at_top(0.5), (216, 30), (842, 30), lapsed.top, label="its time is over, not renewed", at=(540, 24)
    )
    picture.arrow(
        lapsed.at_bottom(0.7),
        (875, 196),
        (180, 196),
        live.at_bottom(0.3),
        label="a renewal succeeds",
        at=(700, 188),
        slow=True,
    )
    picture.arrow(live.at_bottom(0.5), (216, 264), ended.left, label="KeyDenied", at=(290, 256))
    picture.arrow(grace.bottom, ended.top, label="KeyDenied", at=(584, 224))
    picture.arrow(lapsed.at_bottom(0.4), (826, 264), ended.right, label="KeyDenied", at=(740, 256))
    return picture


def breaker_states() -> Picture:
    """Draw the life of a breaker."""
    title = "States of a breaker: closed, open, half-open."
    picture = Picture("breaker-states", title, 940, 190)
    start = picture.start(24, 82)
    closed = picture.box(
        100, 50, 180, "closed", "this master key is asked", "in its turn", style="sealed", round=_ROUND
    )
    opened = picture.box(416, 50, 180, "open", "asked last, only if", "no other serves", style="bad", round=_ROUND)
    probing = picture.box(
        744, 50, 180, "half-open", "one caller finds out,", "in the background", style="kms", round=_ROUND
    )
    picture.arrow(start, closed.left)
    picture.arrow(closed.at_right(0.3), opened.at_left(0.3), label="no answer", at=(348, 62))
    picture.arrow(opened.at_left(0.75), closed.at_right(0.75), label="an answer", at=(348, 116), slow=True)
    picture.arrow(opened.at_right(0.3), probing.at_left(0.3), label="after 1 to 30 s", at=(670, 62))
    picture.arrow(
        probing.at_left(0.75), opened.at_right(0.75), label="no answer:\ntwice the wait", at=(670, 116), slow=True
    )
    picture.arrow(
        probing.bottom,
        (834, 166),
        (190, 166),
        closed.bottom,
        label="an answer; a refusal is one as well",
        at=(506, 158),
        slow=True,
    )
    return picture
