"""What a KMS call costs, and how many are allowed, as published. Read on 2026-11-24 in stored copies of the pages."""

from __future__ import annotations

MONTH = 30 * 86_400.0  # seconds

# AWS KMS: 0.03 USD per 10,000 requests of symmetric keys, 1 USD a month for a key, and for each of its first two
# rotations; 20,000 requests a month are free, which is not counted here. https://aws.amazon.com/kms/pricing/
# GCP Cloud KMS, symmetric keys: 0.03 USD per 10,000 cryptographic operations, for protection level SOFTWARE and HSM
# alike; 0.06 USD a month for an active software key version, 1 USD for an HSM one. https://cloud.google.com/kms/pricing
# ("effective March 17, 2025").
CALL = 0.03 / 10_000  # USD

# AWS: "Cryptographic operations (symmetric) request rate", an account's total in a region, everything else that uses
# KMS included; can be raised. https://docs.aws.amazon.com/kms/latest/developerguide/requests-per-second.html
AWS_QUOTAS = {
    "us-east-1, us-west-2, eu-west-1": 100_000.0,
    "us-east-2, ap-southeast-1, ap-southeast-2, ap-northeast-1, eu-central-1, eu-west-2": 20_000.0,
    "all others": 10_000.0,
}
AWS_QUOTA = min(AWS_QUOTAS.values())

# GCP: 60,000 cryptographic requests a minute for the project that calls (release notes of August 22, 2019). Since
# February 16, 2026, limits are counted per region, start from the project's earlier use, and are enforced softly: what
# the service has room for is answered (external keys excepted). https://docs.cloud.google.com/kms/quotas
GCP_QUOTA = 60_000.0  # calls a minute


def dollars(calls: float) -> float:
    """Price of so many calls, at AWS and GCP alike."""
    return calls * CALL
