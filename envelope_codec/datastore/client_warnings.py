"""Warnings of client libraries, which may repeat what stands in a URL."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from envelope_codec.observe import logger


@contextmanager
def in_our_words(library: str, setting: str) -> Iterator[None]:
    """Inside, turn warnings of a client library into one of ours, which names the ``setting`` of the URL."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        warnings.simplefilter("always", RuntimeWarning)  # of which SQLAlchemy's are
        yield
    if caught:
        text = "%s: %s warns of the URL (%s): it has an option that is not known, or a value that is not taken"
        logger.warning(text, setting, library, ", ".join(sorted({one.category.__name__ for one in caught})))
