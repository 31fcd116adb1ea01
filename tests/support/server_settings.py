"""Settings of a codec server."""

from __future__ import annotations


def settings(jwks_url: str) -> str:
    return (
        '[server]\n[[server.auth]]\nissuer = "https://login.example.com/"\naudience = "codec"\n'
        f'jwks_url = "{jwks_url}"\n[[server.rules]]\nnamespaces = "*"\n'
    )
