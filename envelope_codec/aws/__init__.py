"""Parts that the AWS KMS provider and the S3 store share."""
