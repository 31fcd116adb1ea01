"""The codec server's own pages."""
