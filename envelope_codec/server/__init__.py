"""The codec server for Temporal's Web UI and command line. It decodes for people what workers sealed.

``create_app`` makes the ASGI application, `ServerConfig` holds its settings. docs/codec-server.md is its contract.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import MISSING_PACKAGE

if TYPE_CHECKING:
    from envelope_codec.server.application import create_app
    from envelope_codec.server.config import ServerConfig

__all__ = ["ServerConfig", "create_app"]

_HOMES = {"ServerConfig": "config", "create_app": "application"}
_EXTRA = {"jwt", "prometheus_client", "starlette", "structlog", "uvicorn"}


def __getattr__(name: str) -> Any:
    """Load a public name when it is used. Where the extra is missing, one line says so."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(load(_HOMES[name]), name)


def load(module: str) -> Any:
    """Load a module of this package. Raises `ConfigurationError` if a package that it needs is not installed."""
    try:
        return import_module(f"{__name__}.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        missing = ConfigurationError(
            f'the codec server needs its extra, {error.name} is missing: pip install "temporal-envelope-codec[server]"'
        )
    missing.code = MISSING_PACKAGE
    raise missing
