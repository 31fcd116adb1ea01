"""The payloads of a request: reading, opening, sealing and writing them."""
