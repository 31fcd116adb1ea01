"""The command ``envelope-codec storage``."""
