"""``envelope-codec doctor --watch``: how workers and codec servers fare, again and again, for the person on call."""
