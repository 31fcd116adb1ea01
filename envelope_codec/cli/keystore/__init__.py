"""The command ``envelope-codec keystore``."""
