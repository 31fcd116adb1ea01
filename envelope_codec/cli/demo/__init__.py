"""The command ``envelope-codec demo``."""
