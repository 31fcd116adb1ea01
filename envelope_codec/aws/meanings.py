"""The meanings of AWS credentials that fail, and what to do about each, for all services. Imports no SDK."""

from __future__ import annotations

from envelope_codec.errors import KmsUnavailable
from envelope_codec.provider import Meaning

LOG_IN = (
    "log in again or renew the credentials; if they are good, this machine's clock is off (AWS refuses requests signed "
    "more than 5 minutes from its time)"
)

NOT_FOUND = Meaning(
    KmsUnavailable,
    "no-credentials",
    "no AWS credentials were found",
    "give credentials as to any AWS tool: AWS_PROFILE, AWS_ACCESS_KEY_ID, aws sso login, or a role attached to this "
    "machine",
)
NO_CONFIGURATION = Meaning(
    KmsUnavailable,
    "no-configuration",
    "no AWS credentials could be had: the AWS configuration can't be used",
    "correct the AWS configuration files (AWS_CONFIG_FILE, ~/.aws) or the AWS_ variables: a profile is missing there "
    "or lacks something; aws sts get-caller-identity shows what",
)
NO_LOGIN = Meaning(
    KmsUnavailable,
    "no-login",
    "no AWS credentials could be had: the login has expired, or there is none",
    "log in again: aws sso login, or aws login; a worker needs credentials that renew themselves, such as a role "
    "attached to its machine or pod",
)
SESSION_OVER = Meaning(
    KmsUnavailable,
    "session-over",
    "no AWS credentials could be had: those that ask for the role have expired, or are not valid",
    LOG_IN + "; meant are the credentials that the role is assumed with: those of the profile or the environment",
)
NO_TOKEN_REGION = Meaning(
    KmsUnavailable,
    "no-token-region",
    "no AWS credentials could be had: the token service is not enabled in this region",
    "enable the region's token service in the account (IAM, account settings), or ask another region",
)
NO_ROLE = Meaning(
    KmsUnavailable,
    "no-role",
    "no AWS credentials could be had: permission to assume the role is missing",
    "allow sts:AssumeRole (with a web identity: sts:AssumeRoleWithWebIdentity) in the role's trust policy, and to "
    "these credentials; AWS says the same where there is no such role, and where external_id is not what "
    "the trust policy asks for, or the token has another subject or audience",
)
REFUSED = Meaning(
    KmsUnavailable,
    "credentials-refused",
    "no AWS credentials could be had: the token service refused",
    "check the role and the token that it is asked with (AWS_WEB_IDENTITY_TOKEN_FILE: empty, expired, of another "
    "issuer), the region, and for a KMS key sts_endpoint",
)
UNREACHABLE = Meaning(
    KmsUnavailable,
    "credentials-unreachable",
    "no AWS credentials could be had: their source could not be reached",
    "check the network from here to the token service (STS, SSO) or to the metadata service of the machine or "
    "container",
)
SILENT = Meaning(
    KmsUnavailable,
    "credentials-timed-out",
    "no AWS credentials could be had: their source gave no answer in time",
    "check the network from here to the token service (STS, SSO) or to the metadata service, or the "
    "credential_process: it hangs",
)
BROKEN = Meaning(
    KmsUnavailable,
    "credentials-failed",
    "no AWS credentials could be had: their source failed",
    "look at what the credentials come from: the file of AWS_WEB_IDENTITY_TOKEN_FILE, the credential_process, the "
    "container's or machine's metadata service; the log has more, and aws sts get-caller-identity shows it too",
)

CREDENTIALS = (
    *(NOT_FOUND, NO_CONFIGURATION, NO_LOGIN, SESSION_OVER, NO_ROLE, NO_TOKEN_REGION, REFUSED),
    *(UNREACHABLE, SILENT, BROKEN),
)
"""Why credentials can't be had."""
