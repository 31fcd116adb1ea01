"""Stable codes of what datastores answer, for `EnvelopeError.code`: programs compare these, texts are for people."""

from __future__ import annotations

MAYBE_MISSING = "maybe-missing"
"""Permission is missing; or, to who may not list the bucket, the object: S3 says the same of both."""

NO_PERMISSION = "no-permission"
"""Permission is missing: for a command, or for what it is to work on."""
