"""Opening and sealing of the payloads that a request brings."""
