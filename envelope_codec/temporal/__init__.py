"""All that knows the client and the worker of Temporal's SDK."""
