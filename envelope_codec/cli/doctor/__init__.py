"""The command ``envelope-codec doctor``."""
