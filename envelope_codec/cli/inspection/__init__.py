"""The command ``envelope-codec inspect``."""
