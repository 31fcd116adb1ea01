"""Sealed payloads in a datastore of your own, with sealed references in Temporal."""
