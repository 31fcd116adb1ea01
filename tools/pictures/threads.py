"""Which threads there are, what runs in each of them, and which locks they share."""

from __future__ import annotations

from tools.pictures.drawing import Picture


def threads() -> Picture:
    """Draw event loops on the left, the keyring's threads in the middle, and what they call on the right."""
    title = (
        "Event loops seal, open and wait. The keyring's threads ask the KMS. A timer thread starts renewals. "
        "Only a lock that is held for moments is shared."
    )
    picture = Picture("threads", title, 940, 470)
    picture.zone(12, 14, 260, 330, "event loops: of workers, clients, servers")
    picture.zone(340, 14, 328, 330, "threads of one keyring")
    picture.zone(736, 14, 192, 330, "outside")
    fast = picture.box(
        24, 44, 236, "seal and open", "with the key at hand: no thread,", "no lock, no network", style="ours"
    )
    wait = picture.box(
        24, 160, 236, "wait for a Flight", "cancelling one waiter", "cancels nothing for others", style="ours"
    )
    store = picture.box(24, 266, 236, "calls of datastores", "asyncio, up to 32 a loop", style="plain")
    pool = picture.box(
        352, 44, 304, "envelope-codec-kms: up to 32 threads", "unwraps of records, trials, direct mode", style="ours"
    )
    urgent = picture.box(
        352,
        134,
        304,
        "envelope-codec-kms: 4 urgent threads",
        "new sealing keys, renewals of leases,",
        "wiping of keys",
        style="ours",
    )
    timer = picture.box(
        352, 248, 304, "envelope-codec-timer: one thread", "starts what is due; asks no KMS", style="ours"
    )
    kms = picture.box(748, 104, 168, "the KMS", "providers are", "synchronous", style="kms")
    data = picture.box(
        748, 262, 168, "the datastore", "S3 and files: in threads,", "MongoDB: in one thread", style="plain"
    )
    picture.arrow(wait.at_right(0.3), pool.left, label="fly", at=(304, 112))
    picture.arrow(wait.right, urgent.left)
    picture.arrow(urgent.at_left(0.85), wait.at_right(0.85), label="wake", at=(306, 214), slow=True)
    picture.arrow(pool.right, kms.at_left(0.3))
    picture.arrow(urgent.right, kms.at_left(0.7))
    picture.arrow(timer.top, urgent.bottom, label="fly", at=(520, 230))
    picture.arrow(
        store.at_right(0.8), (300, store.at_right(0.8)[1]), (300, 330), (704, 330), (704, data.left[1]), data.left
    )
    picture.arrow(fast.bottom, wait.top, label="no key at hand", at=(196, 138))
    picture.box(
        12,
        362,
        916,
        "Locks, each of them held for moments, and none of them during a call or while somebody is told",
        "KmsCalls.lock: sealing keys, leases, what is kept for opening, flights under way. One for each keyring",
        "Flight and Stop: a reentrant lock each, for those who wait. SystemClock, KeySets and Pool: a lock each",
        "Every lock is made anew in a forked child (_process.py), since a thread that is not there may have held it",
        style="plain",
        height=92,
    )
    return picture
