"""Builds the client of registries out of the configuration."""

import os
from pathlib import Path

from pinnace.contracts.registry import TransferLimits
from pinnace.daemon.config import Config
from pinnace.host.registry.client import HttpRegistries
from pinnace.host.registry.proxies import proxies_from
from pinnace.host.registry.settings import RegistrySettings
from pinnace.version import __version__


def registries(config: Config) -> HttpRegistries:
    """Return the client of all registries; it opens no connection before it is asked to."""
    return HttpRegistries(registry_settings(config))


def registry_settings(config: Config) -> RegistrySettings:
    """Return what the configuration and the environment say of registries."""
    return RegistrySettings(
        mirrors=config.registry_mirrors,
        insecure=config.insecure_registries,
        certificates=[Path(directory) for directory in config.registry_certs_dirs],
        proxies=proxies_from(
            os.environ,
            http=config.proxies.http_proxy,
            https=config.proxies.https_proxy,
            none_for=config.proxies.no_proxy,
        ),
        attempts=config.max_download_attempts,
        default_url=config.default_registry_url,
        user_agent=f"pinnace/{__version__}",
    )


def transfer_limits(config: Config) -> TransferLimits:
    """Return how much is transferred at a time."""
    return TransferLimits(
        downloads=config.max_concurrent_downloads, uploads=config.max_concurrent_uploads
    )
