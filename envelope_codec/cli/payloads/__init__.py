"""What a payload is and where it stands, for every command that looks at what Temporal stored."""
