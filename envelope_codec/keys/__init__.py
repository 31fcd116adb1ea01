"""Which key seals now, and which keys are at hand for opening. Knows no Temporal."""
