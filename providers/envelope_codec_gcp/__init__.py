"""Master keys in Google Cloud KMS: ``gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envelope_codec_gcp._master_key import GcpKms

__all__ = ["GcpKms"]


def __getattr__(name: str) -> Any:
    """Load the SDK only when the class is asked for: the facts of this package are read without it."""
    if name == "GcpKms":
        from envelope_codec_gcp._master_key import GcpKms

        return GcpKms
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
