"""Sessions of botocore, from which clients are made, and the credentials that they find."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.config import Config
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from envelope_codec.aws.access import Access
from envelope_codec.errors import ConfigurationError

_SESSION_NAME = "envelope-codec"


@dataclass(frozen=True)
class Sessions:
    """Makes sessions that ask as one `Access` says. A session reads the AWS configuration as it is then.

    Attributes:
        access: as whom, and at which endpoints.
        region: that is asked; None is that of the AWS configuration.
        connect_timeout: seconds for a connection.
        read_timeout: seconds for a reply.
        connections: of each client, at most.
    """

    access: Access
    region: str | None
    connect_timeout: float
    read_timeout: float
    connections: int

    def make(self) -> Session:
        """Make a session. Asks no network. Raises errors of botocore: the AWS configuration can't be used."""
        session = Session(profile=self.access.profile)
        if self.region is not None:
            session.set_config_variable("region", self.region)
        # The session's default, so that it also holds for the clients that botocore makes to fetch credentials.
        session.set_default_client_config(
            Config(
                connect_timeout=self.connect_timeout,
                read_timeout=self.read_timeout,
                retries={"total_max_attempts": 1, "mode": "standard"},
                max_pool_connections=self.connections,
                user_agent_extra="envelope-codec",
                # None leaves the choice to the AWS configuration.
                use_fips_endpoint=self.access.fips,
                use_dualstack_endpoint=self.access.dualstack,
            )
        )
        return session

    def check(self, service: str, where: str) -> None:
        """Check what the AWS configuration has to say besides. ``where`` begins errors. Asks no network.

        Raises:
            ConfigurationError: it does not go together with the options.
            BotoCoreError: the AWS configuration can't be used.
        """
        session, role = self.make(), self.access.role
        if role is not None and session.get_config_variable("region") is None:
            raise ConfigurationError(f"{where} role needs a region, to ask its token service: give region")
        for name in self.access.endpoint_flags:
            for asked in (service, *(("sts",) if role is not None else ())):
                if _names_endpoint(session, asked):
                    raise ConfigurationError(
                        f"{where} {name}=true chooses among AWS's own endpoints, and the AWS configuration names "
                        f"another for {asked} (AWS_ENDPOINT_URL, endpoint_url): leave one of the two out"
                    )

    def find_credentials(self) -> Any:
        """Find credentials, by a session of its own. None if there are none. Raises errors of botocore.

        Those of a role are fetched at their first use, and again before they expire.
        """
        source = self.make()
        found = source.get_credentials()
        access = self.access
        if found is None or access.role is None:
            return found
        arguments = {"RoleSessionName": access.role_session_name or _SESSION_NAME}
        if access.external_id is not None:
            arguments["ExternalId"] = access.external_id
        region = source.get_config_variable("region")
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=partial(source.create_client, region_name=region, endpoint_url=access.sts_endpoint),
            source_credentials=found,
            role_arn=access.role,
            extra_args=arguments,
        )
        return DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method="assume-role")


def describe(error: BotoCoreError) -> str:
    """Return what botocore says of settings. Its class alone where the words may repeat a credential."""
    return type(error).__name__ if "@" in str(error) else str(error)


def _names_endpoint(session: Session, service: str) -> bool:
    """Return whether the environment or the configuration files name an endpoint of ``service``."""
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return False
    provider = ConfiguredEndpointProvider(
        full_config=session.full_config, scoped_config=session.get_scoped_config(), client_name=service
    )
    return provider.provide() is not None
