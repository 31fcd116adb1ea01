"""The server's own pages: health, readiness, metrics, its description, and the start page for people."""
