"""Everything that the requests of a server share, and how a server starts and stops."""

from __future__ import annotations

import asyncio

from temporalio.converter import ExternalStorage, StorageDriver

from envelope_codec.config import EnvelopeConfig
from envelope_codec.observe import logger
from envelope_codec.server.audit import Audit
from envelope_codec.server.auth.access import Access
from envelope_codec.server.auth.authenticator import Authenticator
from envelope_codec.server.config import ServerConfig
from envelope_codec.server.metrics import Metrics
from envelope_codec.server.pages.summary import describe_namespaces
from envelope_codec.server.payloads.opener import Opener
from envelope_codec.server.payloads.sealer import Sealer
from envelope_codec.server.payloads.stores import Stores, load_storage
from envelope_codec.server.readiness import Probes
from envelope_codec.server.tally import Tally
from envelope_codec.server.web.admission import Admission
from envelope_codec.server.web.cors import Cors
from envelope_codec.server.web.gate import Gate
from envelope_codec.server.web.hosts import Hosts
from envelope_codec.server.web.turns import KEYRING_THREADS, Turns
from envelope_codec.storage.external import configured_pools, with_our_storage
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.legacy import load_legacy_codecs


class Service:
    """Everything that requests share.

    Args:
        config: which master keys open and seal.
        server: the settings of the server.
        storage: where references to external storage lead, beside the datastores of ``config``; if None, what
            ``server.storage`` names.

    Raises:
        ConfigurationError: a key, a file or the storage can't be loaded.
    """

    def __init__(
        self, config: EnvelopeConfig, server: ServerConfig, storage: ExternalStorage | StorageDriver | None = None
    ) -> None:
        if storage is None and server.storage is not None:
            storage = load_storage(server.storage)
        # Plaintext passes here, even where workers refuse it: a person reads, and has to see what is there.
        config = load_legacy_codecs(config).model_copy(update={"require_encryption": False})
        self.server = server
        self.namespaces = describe_namespaces(config)
        self.authenticator = Authenticator(server.auth, server.token_files)
        self.access = Access(server, config.namespace_aliases)
        self.cors = Cors(server.origins)
        self.hosts = Hosts(server)
        self.metrics = Metrics(_named_namespaces(config, server))
        self.gate = Gate(server.address_rate, behind_proxies=bool(server.trusted_proxies))
        self.admission = Admission(server, self.metrics)
        self.audit = Audit(server.audit_file)
        self.tally = Tally(self.audit.write_summary)
        self.keyring = config.keyring(observer=self.metrics)
        codec = EnvelopeCodec(config, keyring=self.keyring)
        self._pools = configured_pools(config)
        self.stores = Stores.merge(storage, with_our_storage(None, self._pools, codec, threshold=None))
        each = server.max_concurrent_kms_per_caller
        at_kms = Turns(min(server.max_concurrent_kms, KEYRING_THREADS), each, self.metrics.add_waiting)
        at_stores = Turns(server.max_concurrent_kms, each)
        self.opener = Opener(codec, self.stores, at_kms, at_stores, each=each, timeout=server.request_timeout)
        self.sealer = Sealer(codec, at_kms, timeout=server.request_timeout)
        self.probes = Probes(config, server.default_namespace or codec.namespace)
        self.stopping = False
        self._first_check: asyncio.Task[None] | None = None

    def reopen(self) -> None:
        """Open the audit file again, as is needed after it was moved away."""
        try:
            self.audit.reopen()
        except OSError as error:
            logger.error("the audit file can't be opened again, the earlier one stays: %s", error.strerror)

    def start(self) -> None:
        """Begin to check the master keys and the issuers' keys. The event loop must run."""
        self._first_check = asyncio.create_task(self._check())

    async def _check(self) -> None:
        keys, _ = await asyncio.gather(self.probes.check(), self.authenticator.check())  # both log what they find
        if not keys.ready and not self.stopping:
            logger.warning(
                "no master key answers, so that nothing can be opened yet: `envelope-codec doctor`, run as this "
                "process, says what to do"
            )

    def stop(self) -> None:
        """Forget every key. No request may be under way any more."""
        self.stopping = True
        self.probes.close()
        self.authenticator.close()
        for pool in self._pools:
            pool.close()
        self.keyring.close()
        self.tally.close()
        self.audit.close()


def _named_namespaces(config: EnvelopeConfig, server: ServerConfig) -> list[str]:
    """List the namespaces that the settings name, patterns aside."""
    named = [*config.namespaces, *config.namespace_aliases, *config.namespace_aliases.values()]
    named += [server.default_namespace or "", "default"]
    named += [name for rule in server.rules for name in rule.namespaces]
    return [name for name in named if not set(name) & set("*?[")]
