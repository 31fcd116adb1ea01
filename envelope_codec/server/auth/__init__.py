"""Authentication and authorization: who a caller is, and what the caller may do."""
