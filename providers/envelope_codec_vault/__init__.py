"""Master keys in the Transit engine of HashiCorp Vault or OpenBao: ``hashivault://KEY?mount=transit``."""

from __future__ import annotations

from envelope_codec_vault._master_key import VaultTransit

__all__ = ["VaultTransit"]
