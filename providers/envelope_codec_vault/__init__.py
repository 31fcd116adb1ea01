"""Master keys in the Transit engine of HashiCorp Vault or OpenBao: ``hashivault://KEY?mount=transit``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envelope_codec_vault._master_key import VaultTransit

__all__ = ["VaultTransit"]


def __getattr__(name: str) -> Any:
    """Load the SDK only when the class is asked for: the facts of this package are read without it."""
    if name == "VaultTransit":
        from envelope_codec_vault._master_key import VaultTransit

        return VaultTransit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
