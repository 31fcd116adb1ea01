"""The command ``envelope-codec worker``: it does the work of commands that are distributed."""
