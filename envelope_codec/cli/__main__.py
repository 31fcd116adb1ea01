"""``python -m envelope_codec.cli``: the same as the command ``envelope-codec``."""

from envelope_codec.cli import run

run()
