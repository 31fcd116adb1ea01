#!/bin/bash
# Run by LocalStack once it is ready: a KMS key as alias/envelope, and the bucket envelope.
set -euo pipefail

key=$(awslocal kms create-key --description 'envelope_codec, local stack' --query KeyMetadata.KeyId --output text)
awslocal kms create-alias --alias-name alias/envelope --target-key-id "$key"
awslocal s3api create-bucket --bucket envelope
