"""Master keys that a configuration names, and calls of them that may hang: for commands that ask a KMS."""
