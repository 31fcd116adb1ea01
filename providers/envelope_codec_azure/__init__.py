"""Master keys in Azure Key Vault and Managed HSM: ``azurekv://HOST/KEY``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envelope_codec_azure._master_key import AzureKeyVault

__all__ = ["AzureKeyVault"]


def __getattr__(name: str) -> Any:
    """Load the SDK only when the class is asked for: the facts of this package are read without it."""
    if name == "AzureKeyVault":
        from envelope_codec_azure._master_key import AzureKeyVault

        return AzureKeyVault
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
