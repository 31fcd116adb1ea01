"""Master keys in Acme's KMS: ``acmekms://KEY?endpoint=https://kms.acme.example``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acme_kms._master_key import AcmeKms

__all__ = ["AcmeKms"]


def __getattr__(name: str) -> Any:
    """Load the SDK only when the class is asked for: the facts of this package are read without it."""
    if name == "AcmeKms":
        from acme_kms._master_key import AcmeKms

        return AcmeKms
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
