"""The form of most inputs: ``u8 flags ‖ sections``, each section with its u16 length before it.

Any bytes have this form, so that no input is lost: a section that is cut is what is left. A section may be made of
sections itself. Mutation changes one of them and keeps the lengths, and so reaches what lies behind them.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Change = Callable[[bytes, int], bytes]
"""Changes bytes. The number is how many there may be then."""


class Sections:
    """An input, taken apart. A section that is missing is empty."""

    def __init__(self, data: bytes) -> None:
        self.flags = data[0] if data else 0
        self.all = _split(data)

    def __getitem__(self, number: int) -> bytes:
        return self.all[number] if number < len(self.all) else b""

    def after(self, number: int) -> list[bytes]:
        """Return the sections from this one on."""
        return self.all[number:]


def join(flags: int, *sections: bytes) -> bytes:
    """Return the input with these sections, none of which has more than 65,535 bytes."""
    return bytes((flags,)) + b"".join(len(section).to_bytes(2, "big") + section for section in sections)


def mutate(data: bytes, most: int, chance: Random, change: Change) -> bytes:
    """Return ``data`` with one part changed: its flags, a section, or which sections there are."""
    flags, sections = data[0] if data else 0, _split(data)
    kind = chance.randrange(12)
    if not sections or kind == 0:
        flags ^= 1 << chance.randrange(8)
    elif kind == 1:
        sections.insert(chance.randrange(len(sections) + 1), chance.choice(sections))
    elif kind == 2:
        del sections[chance.randrange(len(sections))]
    elif kind == 3:
        one, other = chance.randrange(len(sections)), chance.randrange(len(sections))
        sections[one], sections[other] = sections[other], sections[one]
    else:
        at = chance.randrange(len(sections))
        sections[at] = _mutate_section(sections[at], most, chance, change)
    return join(flags, *(section[:65_535] for section in sections))[:most]


def _mutate_section(section: bytes, most: int, chance: Random, change: Change) -> bytes:
    inner = _split(section)
    if len(inner) > 1 and join(section[0], *inner) == section and chance.random() < 0.8:
        return mutate(section, most, chance, change)
    return change(section, max(16, min(most, 2 * len(section))))


def _split(data: bytes) -> list[bytes]:
    found, at = [], 1
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        found.append(data[at + 2 : end])
        at = end
    return found
