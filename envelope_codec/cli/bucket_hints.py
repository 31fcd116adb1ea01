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

_KEY = "the file of the option key_file, or AZURE_STORAGE_KEY (with AZURE_STORAGE_ACCOUNT)"

AZURE: Mapping[str, str] = {
    "the container refused: the container does not exist": "make the container, or correct its name in the URL: "
    "azblob://ACCOUNT/CONTAINER/PREFIX",
    "the container refused: the storage account does not exist there, or is disabled": "correct the account's name in "
    "the URL, or the option endpoint; look at the account's state",
    "the container refused: permission is missing": "grant {permission} on the container to this identity, as a data "
    "action: Owner and Contributor have none; a new grant takes some minutes",
    "the container refused: permission is missing, or the account's firewall does not let this network in": "look at "
    "the account's Networking page; else grant {permission} on the container to this identity. Azurite says so of a "
    "wrong account key, too",
    "the container refused: the account takes no account keys, but tokens alone": f"take away {_KEY}, so that a token "
    "is used",
    "the container refused: the payload was moved to the archive tier": "rehydrate the blob to the hot or cool tier, "
    "and take the lifecycle rule away that moved it",
    "the container refused: a policy of immutability, a legal hold or a lease keeps the blob": "it can't be deleted "
    "before the policy ends, or the hold or the lease is released",
    "the container refused: the name of the container or the prefix is not valid": "correct the container's name in "
    "the URL: 3 to 63 lowercase letters, digits and single hyphens",
    "the container refused: the log has its code": "look up the code that Azure gives, and check the options of the "
    "URL",
    "something else is there under the id": _OTHER_PAYLOAD,
    "Azure Storage did not take the credentials: wrong, expired, or of another tenant": f"correct {_KEY}; without a "
    "key, log in to the tenant of the account, and check this machine's clock",
    "no credentials for Azure Storage: the account key's file can't be read, or holds none": "correct the path of the "
    "option key_file, let this user read the file, and put nothing into it but the key",
    "no credentials for Azure Storage: a server without TLS is sent no token, and no account key is given": "give "
    f"the emulator's account key: {_KEY}",
    "no Azure token could be had: no credentials were found": "give credentials as to any of Azure's tools: az login, "
    "AZURE_CLIENT_ID and the like, workload identity, or a managed identity (of several, the option client_id chooses)",
    "no Azure token could be had: the token service refused": "look at the secret, certificate or federated token: "
    "wrong, expired, or of another tenant; the log has the number that Entra gives",
    "no Azure token could be had: the token service could not be reached": "check the network from here to "
    "login.microsoftonline.com, or to the metadata service of the machine",
    "the host of the storage account is not known here (DNS)": "correct the account's name in the URL; behind a "
    "private endpoint, let this machine resolve its name",
    "no trusted TLS connection to the storage account": "check which certificates are trusted here, TLS-inspecting "
    "proxies, and the option endpoint",
    "the answer is not one of Azure Storage: a proxy or a gateway before it gave it": _PROXY,
    "the storage account did not answer": "check the option endpoint, and the network from here to the account (DNS, "
    "firewall, proxy); the service may throttle, too",
}
AZURE_PERMISSIONS = (
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action and "
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
)
"""For storing and reading, and for reading only."""
