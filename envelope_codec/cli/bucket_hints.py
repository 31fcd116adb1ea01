"""What to do about an error of Google Cloud Storage or Azure Blob Storage, by the error's reason."""

from __future__ import annotations

from collections.abc import Mapping

_PROXY = "look at HTTPS_PROXY and NO_PROXY, and at the option endpoint: something else answers there"
_CORRUPT = "something between here and the bucket changes what it sends: look for a proxy"
_OTHER_PAYLOAD = (
    "give payloads a prefix of their own: something else writes there, under the names that payloads have; nothing is "
    "overwritten"
)
_GCS_PERMISSION = (
    "grant {permission} on the bucket; with a condition on the prefix, its resource.name is to start with "
    "projects/_/buckets/BUCKET/objects/PREFIX/"
)

GCS: Mapping[str, str] = {
    "the bucket refused: the bucket does not exist": "make the bucket, or correct its name in the URL",
    "the bucket refused: permission is missing": _GCS_PERMISSION,
    "the bucket refused: permission is missing (Google says so of a missing object, too, to who may not list the "
    "bucket)": _GCS_PERMISSION,
    "the bucket refused: the access scopes of the credentials are too narrow": "give the machine or node pool the "
    "scope devstorage.read_write or cloud-platform, or use workload identity, which has none",
    "the bucket refused: its project's billing is off, or the project or account is suspended": "look at the billing "
    "and the state of the bucket's project",
    "the bucket refused: a perimeter of VPC Service Controls or a policy of the organization forbids it": "let this "
    "network and identity into the perimeter (ingress rule), or look at the organization's policies; the audit log has "
    "which",
    "the bucket refused: a retention policy or a hold keeps the object": "it can't be deleted before the retention "
    "ends, or the hold is released",
    "the bucket refused: it makes its callers pay (Requester Pays)": "turn Requester Pays off for the bucket: payloads "
    "are read by those who own them",
    "the bucket refused: the Cloud KMS key of the bucket can't be used": "grant "
    "roles/cloudkms.cryptoKeyEncrypterDecrypter on the bucket's key to the project's Cloud Storage service agent, and "
    "look whether the key is enabled",
    "the bucket refused: its name, or the prefix, is not valid": "correct the bucket's name in the URL",
    "the bucket refused: the log has its code": "look up the reason that Google gives, and check the options of the "
    "URL",
    "something else is there under the id": _OTHER_PAYLOAD,
    "Google Cloud Storage did not take the credentials: expired, revoked or unknown": "renew the credentials (gcloud "
    "auth application-default login, or another key); if they are good, check this machine's clock",
    "no Google credentials were found": "give credentials as to any of Google's tools: GOOGLE_APPLICATION_CREDENTIALS, "
    "gcloud auth application-default login, or a service account attached to this machine or pod",
    "no Google credentials could be had: their file is missing, or holds none": "correct the path of "
    "GOOGLE_APPLICATION_CREDENTIALS or of the option credentials, or make the file anew",
    "no Google credentials could be had: the token service refused": "log in again, or look whether the service "
    "account, its key or the pool of workload identity was deleted or disabled; check this machine's clock",
    "no Google credentials could be had: the service account can't be impersonated": "grant "
    "roles/iam.serviceAccountTokenCreator on the account that impersonate= names, check its name, and that the IAM "
    "Service Account Credentials API is on",
    "no Google credentials could be had: their source could not be reached, or failed": "check the network from here "
    "to the token service or to the metadata service of the machine",
    "the answer is not one of Google Cloud Storage: a proxy or a gateway before it gave it": _PROXY,
    "what the bucket sent does not fit its checksum": _CORRUPT,
    "the bucket did not answer": "check the option endpoint, and the network from here to storage.googleapis.com (DNS, "
    "firewall, proxy); the service may throttle, too",
}
GCS_PERMISSIONS = ("storage.objects.create and storage.objects.get", "storage.objects.get")
"""For storing and reading, and for reading only."""
