"""What to do where AWS credentials can't be had or are not taken, for AWS KMS and for S3. By the error's reason."""

from __future__ import annotations

from collections.abc import Mapping

LOG_IN = (
    "log in again or renew the credentials; if they are good, this machine's clock is off (AWS refuses requests signed "
    "more than 5 minutes from its time)"
)

AWS_CREDENTIAL_HINTS: Mapping[str, str] = {
    "no AWS credentials were found": "give credentials as to any AWS tool: AWS_PROFILE, AWS_ACCESS_KEY_ID, aws sso "
    "login, or a role attached to this machine",
    "no AWS credentials could be had: the AWS configuration can't be used": "correct the AWS configuration files "
    "(AWS_CONFIG_FILE, ~/.aws) or the AWS_ variables: a profile is missing there or lacks something; aws sts "
    "get-caller-identity shows what",
    "no AWS credentials could be had: the login has expired, or there is none": "log in again: aws sso login, or aws "
    "login; a worker needs credentials that renew themselves, such as a role attached to its machine or pod",
    "no AWS credentials could be had: permission to assume the role is missing": "allow sts:AssumeRole (with a web "
    "identity: sts:AssumeRoleWithWebIdentity) in the role's trust policy, and to these credentials; the trust policy "
    "may ask for an external_id, or for another subject or audience of the token",
    "no AWS credentials could be had: the token service refused": "check the role and the token that it is asked with "
    "(AWS_WEB_IDENTITY_TOKEN_FILE: empty, expired, of another issuer), the region, and for a KMS key sts_endpoint",
    "no AWS credentials could be had: their source could not be reached": "check the network from here to the token "
    "service (STS, SSO) or to the metadata service of the machine or container",
    "no AWS credentials could be had: their source gave no answer in time": "check the network from here to the token "
    "service (STS, SSO) or to the metadata service, or the credential_process: it hangs",
    "no AWS credentials could be had: their source failed": "look at what the credentials come from: the file of "
    "AWS_WEB_IDENTITY_TOKEN_FILE, the credential_process, the container's or machine's metadata service; the log has "
    "more, and aws sts get-caller-identity shows it too",
}
