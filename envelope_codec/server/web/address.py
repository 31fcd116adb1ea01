"""An address to listen at: ``HOST:PORT``, and whether only this machine can reach it."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from envelope_codec.kms import show_value


class Address(NamedTuple):
    """A host, by name or number, and a port. Port 0 stands for any that is free."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``HOST:PORT`` or ``[IPV6]:PORT``. Raises ValueError."""
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})", text)
        if match is None or int(match[3]) > 65_535:
            raise ValueError(f"{show_value(text)} is no address: give HOST:PORT, or [IPV6]:PORT")
        return cls(match[1] or match[2], int(match[3]))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. Of names, only ``localhost`` is known to be so."""
        return self.host.lower() == "localhost" or is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is a number of this machine's loopback network. Names are not looked up."""
    try:
        number = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(number, "ipv4_mapped", None)
    return number.is_loopback or bool(mapped and mapped.is_loopback)
