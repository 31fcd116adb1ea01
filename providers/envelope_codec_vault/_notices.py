"""What will become trouble with a master key in Vault, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable

from envelope_codec.provider import Failed
from envelope_codec_vault._environment import advise_on, find_ignored_variables
from envelope_codec_vault._key_id import TransitKey
from envelope_codec_vault._own_sessions import OwnSessions
from envelope_codec_vault._session import Sessions, say_span


def find_notices(key: TransitKey, sessions: Callable[[], Sessions], *, through_agent: bool) -> list[tuple[str, str]]:
    """Find pairs of a trouble and its fix. Asks Vault how long the token lives, and tells nothing of it without answer.

    ``sessions`` gets this process's; it may raise `Failed`.
    """
    found = [
        (f"{name} is set, and ignored", advise_on(name))
        for name in find_ignored_variables(key.namespace, through_agent=through_agent)
    ]
    try:
        own = sessions()
        own.current()
        if isinstance(own, OwnSessions):
            own.look()
    except Failed:
        return found
    left = own.end_of_token()
    if left is not None:
        text = f"the Vault token ends in {say_span(left)}, and there is no login to get another"
        found.append((text, "use a token that Vault renews (periodic), or configure a login (option auth)"))
    return found
