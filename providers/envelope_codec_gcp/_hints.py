"""What the failures of Google Cloud KMS mean, and what to do about each. Imports no SDK."""

from __future__ import annotations

from dataclasses import replace

from envelope_codec.errors import InvalidCiphertext, KmsUnavailable
from envelope_codec.provider import Meaning, meanings

THROTTLED = replace(
    meanings.THROTTLED,
    text="the KMS is throttling",
    hint="ask for a higher quota of cryptographic requests, or wait",
)
SERVER_ERROR = replace(meanings.SERVER_ERROR, text="the KMS had an internal error")
ABORTED = Meaning(KmsUnavailable, "aborted", "the KMS aborted the call", meanings.TRY_LATER)
CANCELLED = Meaning(KmsUnavailable, "cancelled", "the call to the KMS was cancelled", meanings.TRY_LATER)
CALL_FAILED = Meaning(KmsUnavailable, "call-failed", "the call to the KMS failed", meanings.TRY_LATER)
DAMAGED = Meaning(
    KmsUnavailable,
    "damaged",
    "request or reply was damaged on the way between here and the KMS",
    meanings.TRY_LATER,
)
NOT_FROM_KMS = replace(meanings.NO_ANSWER, text="something between here and the KMS answered in its place")
NO_CREDENTIALS = replace(
    meanings.NO_CREDENTIALS,
    hint="give credentials: gcloud auth application-default login, GOOGLE_APPLICATION_CREDENTIALS, the option "
    "credentials, or a service account attached to this machine",
)
BAD_FILE = Meaning(
    KmsUnavailable,
    "credentials-file",
    "the credentials file can't be used: it is none, or lacks a part",
    "give a JSON file as Google writes it, of type service_account, external_account (workload identity), "
    "impersonated_service_account or authorized_user; the log says what is wrong with this one",
)
CREDENTIALS_EXPIRED = Meaning(
    KmsUnavailable,
    "credentials-expired",
    "Google does not take the credentials: they have expired, or were revoked",
    "log in again: gcloud auth application-default login; of a service account, make another key or enable the "
    "account; a worker needs credentials that renew themselves, such as workload identity",
)
EXCHANGE_REFUSED = Meaning(
    KmsUnavailable,
    "exchange-refused",
    "Google's token service refused the workload's identity token",
    "compare the pool's provider with the token: issuer, audience, subject and attribute condition, and the clock; "
    "the token may have expired: look at what writes it, which the file names as credential_source",
)
NO_PROVIDER = Meaning(
    KmsUnavailable,
    "no-identity-provider",
    "Google's token service knows no such workload identity provider, or it is disabled",
    "correct audience in the credentials file: project number, pool and provider; or enable pool and provider",
)
NO_SUBJECT_TOKEN = Meaning(
    KmsUnavailable,
    "no-identity-token",
    "no identity token of this workload could be read",
    "look at credential_source in the credentials file: the file or URL that it names, and its format; the platform "
    "that is to write the token there may not have done so yet",
)
NO_IMPERSONATION = Meaning(
    KmsUnavailable,
    "no-impersonation",
    "permission to impersonate the service account is missing",
    "grant roles/iam.serviceAccountTokenCreator on the service account to these credentials, in a chain on each "
    "account to the one before it, and enable the IAM Service Account Credentials API in the project of these "
    "credentials",
)
NO_ACCOUNT = Meaning(
    KmsUnavailable,
    "no-service-account",
    "the service account to impersonate does not exist",
    "correct the option impersonate, or service_account_impersonation_url in the credentials file",
)
TOKEN_SERVICE_REFUSED = Meaning(
    KmsUnavailable,
    "token-service-refused",
    "Google's token service gave no token",
    "gcloud auth application-default print-access-token, run as this user, shows why",
)
TOKEN_SERVICE_UNREACHABLE = Meaning(
    KmsUnavailable,
    "token-service-unreachable",
    "no credentials could be had: the token service could not be reached, or had an error",
    "check the network from here to sts.googleapis.com, iamcredentials.googleapis.com, oauth2.googleapis.com or the "
    "metadata server, whichever the credentials need: DNS, firewall, proxy (HTTPS_PROXY, NO_PROXY)",
)
CREDENTIALS_SILENT = Meaning(
    KmsUnavailable,
    "credentials-silent",
    "no credentials could be had: their source gave no answer in time",
    TOKEN_SERVICE_UNREACHABLE.hint,
)
NO_QUOTA = Meaning(
    KmsUnavailable,
    "no-quota-project",
    "these credentials take no quota project",
    "leave the option quota_project out, or give credentials of another type",
)
QUOTA_PROJECT_DENIED = Meaning(
    KmsUnavailable,
    "quota-project-denied",
    "the project whose quota is to be used does not exist, or permission to use it is missing",
    "grant roles/serviceusage.serviceUsageConsumer on the quota project, enable the Cloud KMS API there, or name "
    "another one: option quota_project, GOOGLE_CLOUD_QUOTA_PROJECT, or quota_project_id in the credentials file",
)
EXTERNAL = Meaning(
    KmsUnavailable,
    "key-store-down",
    "the external key manager behind the KMS gave no answer",
    "look at the external key manager (Cloud EKM)",
)

NOT_PERMITTED = replace(
    meanings.NOT_PERMITTED,
    text="the KMS refused: permission is missing",
    hint="grant {permission} on the key (role roles/cloudkms.cryptoKeyEncrypterDecrypter)",
)
NOT_FOUND = replace(
    meanings.NOT_FOUND,
    text="the KMS has no such key",
    hint="check the resource name: project, location, key ring and key; a key of another location is not found"
    + meanings.RETIRED,
)
UNUSABLE = replace(
    meanings.UNUSABLE,
    text="the key is disabled, destroyed, or not made for encryption",
    hint="enable or restore its primary version, or configure a key with purpose ENCRYPT_DECRYPT" + meanings.RETIRED,
)

BAD_CIPHERTEXT = replace(meanings.BAD_CIPHERTEXT, text="the ciphertext does not open under this key and context")
NO_VERSION = Meaning(
    InvalidCiphertext,
    "no-version",
    "the recorded key version is not one of Google Cloud KMS",
    meanings.CHECK_BINDING,
)

MEANINGS = (
    *(meanings.TIMED_OUT, meanings.UNREACHABLE, THROTTLED, SERVER_ERROR, ABORTED, CANCELLED, CALL_FAILED, DAMAGED),
    *(BAD_FILE, CREDENTIALS_EXPIRED, EXCHANGE_REFUSED, NO_PROVIDER, NO_SUBJECT_TOKEN, NO_IMPERSONATION, NO_ACCOUNT),
    *(TOKEN_SERVICE_REFUSED, TOKEN_SERVICE_UNREACHABLE, CREDENTIALS_SILENT, NO_QUOTA, QUOTA_PROJECT_DENIED),
    *(NOT_FROM_KMS, NO_CREDENTIALS, meanings.CREDENTIALS_REJECTED, EXTERNAL, meanings.CLOSED, meanings.FAULT),
    *(NOT_PERMITTED, NOT_FOUND, UNUSABLE),
    *(BAD_CIPHERTEXT, NO_VERSION),
)
