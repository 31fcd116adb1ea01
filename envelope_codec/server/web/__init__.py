"""HTTP of the codec server: addresses, limits, requests and replies."""
