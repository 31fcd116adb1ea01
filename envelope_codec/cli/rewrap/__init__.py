"""The command ``envelope-codec rewrap``: wrapping keys get another master key, and lose the old one."""
