"""What to do about an error of a datastore, by the kind of store and by the error's reason, which is fixed text."""

from __future__ import annotations

from collections.abc import Mapping

from envelope_codec.aws.meanings import CREDENTIALS, LOG_IN
from envelope_codec.cli import bucket_hints
from envelope_codec.errors import EnvelopeError, StoreRefused, StoreUnavailable

_NETWORK = "check that it runs, host and port in its URL, and the network from here to it: DNS, firewall, TLS"
_PRIMARY = "name the primary in the URL; after a failover, wait until there is one"
_REGION = "give the region that the bucket is in, as ?region=, in the URL"
_AWS_PERMISSION = (
    "allow {permission} for what lies under the prefix, in the role's policy and in the bucket's, and the use of the "
    "KMS key if the bucket is encrypted with one"
)
_S3 = {
    "the bucket refused: the bucket does not exist": "make the bucket, or correct its name in the URL; a service other "
    "than Amazon's needs the option endpoint",
    "the bucket refused: the bucket is in another region: give ?region=": _REGION,
    "the bucket refused: permission is missing (S3 says so of a missing object, too, to who may not list the bucket)": (
        _AWS_PERMISSION
    ),
    "the bucket refused: permission is missing": _AWS_PERMISSION,
    "the bucket refused: permission is missing, or the bucket is not of the account that bucket_owner names": (
        _AWS_PERMISSION
        + "; S3 says the same where the bucket belongs to another account than bucket_owner: correct the "
        "option, or the bucket's name; and of a missing object to who may not list the bucket"
    ),
    "the bucket refused: permission to use the KMS key is missing that encrypts what is stored there": "allow "
    "kms:Decrypt on that key, and kms:GenerateDataKey to who stores, in the role's policy and in the key's; or correct "
    "the option sse_key",
    "the bucket refused: the KMS key that encrypts what is stored there is missing, disabled, or of another region": (
        "enable the key, or give the ARN of one in the bucket's region as the option sse_key"
    ),
    "the bucket refused: it is full": "make room, or raise the quota of the service",
    "the bucket refused: its server does not do what was asked for": "this server speaks only a part of S3: look at "
    "its log and its version; a proxy before it may answer in its place",
    "the bucket refused: its server does not take the checksums that boto3 sends": "give the server's URL as the "
    "option endpoint, with which none are sent; else upgrade the server, or look for a proxy that changes requests",
    "the bucket refused: the log has its code": "look up the code that S3 gives, and check the options of the URL",
    "the bucket refused: its name, or the prefix, is not valid": "correct the bucket's name in the URL",
    **{meaning.text: meaning.hint for meaning in CREDENTIALS},
    "S3 did not take the credentials: expired, unknown or wrongly signed": LOG_IN + "; check AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or the profile that the URL names; a service other than Amazon's has its own",
    "the answer is not one of S3: a proxy or a gateway before it gave it": "look at HTTPS_PROXY and NO_PROXY, and at "
    "the option endpoint: something else than S3 answers there",
    "what the bucket sent does not fit its checksum": "something between here and the bucket changes what it sends: "
    "look for a proxy; or check the disks of a service of your own",
    "the bucket did not answer": "check the region, the option endpoint, the network from here to S3 (DNS, firewall, "
    "proxy)",
}

_SQL = {
    "the database refused the login: wrong user or password, or the account is locked": "correct user and password in "
    "the URL (special characters as %40 and so on), or let the account log in; one of MariaDB that REQUIREs SSL is "
    "refused in these words without TLS",
    "the database refuses connections of this user from this host (pg_hba.conf)": "let this host in: a line of "
    "pg_hba.conf for user, database and address, or a user 'name'@'host' of MariaDB; if the line asks for TLS, give "
    "sslmode=require",
    "the database does not exist on its server": "correct the database's name in the URL, or make it: CREATE DATABASE",
    "the table does not exist, or its schema": "make the table: envelope-codec storage ddl prints the statements; or "
    "correct database and ?table= in the URL",
    "the table has other columns than the ddl command prints": "make a table as envelope-codec storage ddl prints "
    "it, and name it with ?table=",
    "permission on the table or the database is missing": "grant {permission} on the table to the user in the URL, and "
    "USAGE on its schema",
    "the database is full: its disk, its table or its quota": "make room on the database's disk, or raise its quota; "
    "envelope-codec storage gc finds what nothing refers to any more",
    "the database does not take as many bytes in one statement or value": "raise the server's limit: "
    "max_allowed_packet of MariaDB and MySQL is to be 16M or more; make the table as envelope-codec storage ddl prints "
    "it",
    "the table has a constraint that refuses what is stored": "make the table as envelope-codec storage ddl prints it",
    "the database does not know what was asked for: it is of another kind or version": "check that the URL's scheme "
    "fits the server, and look for a proxy before it that does not know all statements",
    "the database refused the statement, and the log has its code": "look up the code; make the table as "
    "envelope-codec storage ddl prints it",
    "the driver of the database can't use the URL's host or options": "correct the host and the options in the URL; "
    "they are SQLAlchemy's and the driver's, but for table and name",
    "the file of the database can't be opened: its folder is missing, or permission": "make the folder, or correct the "
    "path (sqlite:////absolute/path); check owner and mode of the folder and the file",
    "the file of the database is read-only": "let this user write to the file and its folder, or mount it writable; if "
    "this role only reads, name the store in former_storage",
    "the file is no database, or is damaged": "correct the path in the URL; restore the file from a backup if it is "
    "the right one",
    "the database takes no writes: it is a replica, or read-only": _PRIMARY,
    "no TLS connection that this side and the database take": "check sslmode and sslrootcert in the URL (ssl of the "
    "driver), the server's certificate and name, and whether it speaks TLS at all",
    "the database has too many connections": "raise max_connections, or the user's limit: an event loop uses up to 32; "
    "or put a pooler before the server",
    "the database is starting, stopping or recovering": "wait until it is up, and look at its log if it is not",
    "the database is locked, or gave way to another transaction": "find who holds the lock: another process that "
    "writes, a backup, a migration",
    "the database ended the statement: it took too long, or somebody cancelled it": "look at the server's load and its "
    "time-outs (statement_timeout)",
    "the database has not enough memory or other resources": "look at the server's load and memory",
    "the database failed: an internal error, or one of its disk": "look at the server's log, and at its disk",
    "the name of the database's host is not known here (DNS)": "correct the host in the URL; or let this machine or "
    "pod resolve it: its DNS server, its search domains",
    "nothing listens at the database's host and port": "check host and port in the URL, that the server runs, and that "
    "it listens there and not on its own machine alone",
    "the database did not answer": _NETWORK,
}

_REDIS = {
    "the server refused the login: wrong user or password": "correct user and password in the URL",
    "permission is missing: for a command, or for keys with the prefix": "let the user call {permission} on keys with "
    "the prefix (ACL SETUSER)",
    "the server is out of memory": "raise maxmemory, or make room: envelope-codec storage gc finds what nothing refers "
    "to any more",
    "the server is starting: it loads its data": "wait until it has loaded its data",
    "the server has too many connections": "raise maxclients: an event loop uses up to 32",
    "the server has not enough replicas to take writes": "look at its replicas, and at min-replicas-to-write",
    "the server can't save its data: look at its disk": "look at the server's log and its disk: it takes no writes "
    "until a snapshot succeeds",
    "the server is busy with a script": "end the script: SCRIPT KILL",
    "the server belongs to a Redis Cluster, and the URL is of a single server": "begin the URL with redis+cluster:// "
    "or rediss+cluster://, and name several of its servers",
    "the server is no Redis Cluster": "begin the URL with redis:// or rediss://, or turn cluster-enabled on",
    "the cluster is down: some of its slots have no server": "look at CLUSTER INFO and CLUSTER NODES: start the "
    "servers that failed, or give their slots to others; replicas take over by themselves",
    "a server of the cluster did not answer at the address that the cluster tells": "look at CLUSTER SLOTS: this "
    "machine must reach each address in it (cluster-announce-ip, cluster-announce-port; networks of containers); or "
    "start the server that failed",
    "the primary did not answer at the address that the sentinels tell": "ask SENTINEL MASTERS: this machine must "
    "reach the address there (replica-announce-ip, replica-announce-port; networks of containers); or wait for "
    "the failover",
    "the sentinels know no primary that is up: it failed, and another one is to be chosen": "wait for the failover; if "
    "it does not come, look at the sentinels' logs: their quorum, and a replica that is up",
    "the sentinels know no service of that name": "correct the service in the URL: SENTINEL MASTERS lists those that "
    "there are",
    "the sentinels refused the login: wrong user or password of their own": "give sentinel_password, and "
    "sentinel_username if they have users: the login in the URL's first half is for the servers alone",
    "the sentinels do not permit the user to ask for the primary": "let the user of the sentinels call SENTINEL "
    "MASTERS (ACL SETUSER … +sentinel|masters)",
    "what answered is no sentinel": "give the sentinels' own ports, 26379 as a rule; the servers' are for redis://",
    "no sentinel answered": "check the hosts and ports of the sentinels in the URL, and the network from here to them",
    "what is there under the id is of another kind": "give payloads a prefix of their own, as ?prefix= in the URL",
    "the server has no database of that number": "correct the number of the database in the URL, or raise databases",
    "the server does not know a command that is needed": "use Redis or Valkey, and no proxy that lacks commands; "
    "needed are {permission}",
    "the server refused, and its log may say why": "look at the server's log",
    "the server evicts keys when it is full: set maxmemory-policy to noeviction": "CONFIG SET maxmemory-policy "
    "noeviction, and the same in the server's configuration file",
    "the server takes no writes: it is a replica, or read-only": _PRIMARY,
    "the server did not answer": _NETWORK,
}

_MONGODB = {
    "the server refused the login: wrong user or password, or another authSource": "correct user and password in the "
    "URL, and give authSource= if the user belongs to another database",
    "permission on the collection is missing": "grant {permission} on the collection",
    "the server does not take the name of the database or the collection": "correct the names of database and "
    "collection in the URL",
    "the server is full: its disk or its quota": "make room on its disk, or raise the quota",
    "the collection has a rule that refuses what is stored": "take the collection's validator away, or name "
    "another one",
    "the server does not know what was asked for: it is too old, or not MongoDB": "use MongoDB itself, in a version "
    "that PyMongo supports",
    "the server refused, and its log may say why": "look at the server's log; a document has 16 MiB at most",
    "the server did not answer": _NETWORK + "; a replica set needs a primary",
}

_FILE = {
    "the directory does not exist, or is none": "make the directory, or mount it, or correct the path in the URL",
    "permission on the directory, or on a file in it, is missing": "let this user enter and {permission} the directory "
    "and all in it: check owner and mode",
    "the file system is full, or the quota is used up": "make room, or raise the quota; envelope-codec storage gc "
    "finds what nothing refers to any more",
    "the file system is read-only": "mount it writable (it turns read-only by itself when its disk fails: look at the "
    "system's log); if this role only reads, name the store in former_storage",
    "the file system does not take files as large": "raise the limit on the size of files (ulimit -f), or use another "
    "file system",
    "the file system did not do as it was asked": "look at the system's log, and at the disk or the network mount",
}

STORE_HINTS: Mapping[str, Mapping[str, str]] = {
    "azblob": bucket_hints.AZURE,
    "gs": bucket_hints.GCS,
    "s3": _S3,
    **dict.fromkeys(("postgresql", "sqlite", "mysql", "mariadb"), _SQL),
    **dict.fromkeys(("redis", "rediss"), _REDIS),
    "mongodb": _MONGODB,
    "file": _FILE,
}
"""By scheme and reason."""

_PERMISSIONS = {
    # for storing and reading, and for reading only
    "azblob": bucket_hints.AZURE_PERMISSIONS,
    "gs": bucket_hints.GCS_PERMISSIONS,
    "s3": ("s3:PutObject and s3:GetObject", "s3:GetObject"),
    **dict.fromkeys(("postgresql", "sqlite", "mysql", "mariadb"), ("SELECT and INSERT", "SELECT")),
    **dict.fromkeys(("redis", "rediss"), ("SET, SETRANGE, GETRANGE and GET", "GETRANGE and GET")),
    "mongodb": ("find and insert", "find"),
    "file": ("read and write", "read"),
}

TO_READ_AND_LIST = {
    "gs": ("storage.objects.get", "storage.objects.list"),
    "s3": ("s3:GetObject", "s3:ListBucket"),
}
"""The permissions to read and to list, where a store hides a missing payload from those who may not list."""

_BY_KIND: tuple[tuple[type[EnvelopeError], str], ...] = (
    (StoreUnavailable, _NETWORK),
    (StoreRefused, "check that what the URL names exists, and that these credentials may use it"),
    (EnvelopeError, "find out what deletes or changes payloads: a time to live, eviction, a replica that lags"),
)


def store_hint(scheme: str, error: EnvelopeError, *, writes: bool) -> str:
    """Say what to do about ``error``.

    Args:
        scheme: the scheme of the store's URL, up to a ``+``.
        error: what the store raised.
        writes: whether the store was to be written to, or only to be read.
    """
    text = STORE_HINTS.get(scheme, {}).get(error.reason)
    if text is None:
        text = general_hint(error)
    fix = text.format(permission=_PERMISSIONS.get(scheme, ("", ""))[0 if writes else 1])
    if writes and "{permission}" in text:
        fix += "; if this role only reads, name the store in former_storage"
    return fix


def general_hint(error: EnvelopeError) -> str:
    """Say what to do about an error of any store, whatever its reason."""
    return next(general for kind, general in _BY_KIND if isinstance(error, kind))
