"""Keystores in datastores of your own: where wrapped keys are kept, and can be wrapped anew."""
