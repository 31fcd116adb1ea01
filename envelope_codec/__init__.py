"""Envelope encryption for Temporal payloads."""

__version__ = "0.1.0"
