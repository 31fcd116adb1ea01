"""Stores of your own for sealed payloads: Temporal keeps a sealed reference to each."""
