"""Master keys in Google Cloud KMS: ``gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K``."""

from envelope_codec_gcp._master_key import GcpKms

__all__ = ["GcpKms"]
