"""Who a caller of the codec server is, and what the caller may do."""
