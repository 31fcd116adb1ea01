"""The command ``envelope-codec audit``: which master keys histories still need."""
