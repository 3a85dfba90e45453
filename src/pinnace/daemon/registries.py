"""Builds the client of registries out of the configuration."""

import os
from pathlib import Path

from pinnace.contracts.registry import TransferLimits
from pinnace.daemon.config import Config
from pinnace.engine.images.parts import Offload
from pinnace.engine.registries.service import RegistryService
from pinnace.host.login_file import LoginFile
from pinnace.host.registry.client import HttpRegistries
from pinnace.host.registry.proxies import proxies_from
from pinnace.host.registry.settings import RegistrySettings
from pinnace.oci.reference import DEFAULT_DOMAIN
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


def registry_service(config: Config, client: HttpRegistries, offload: Offload) -> RegistryService:
    """Return what the API's calls about registries do."""
    return RegistryService(client, LoginFile(Path(config.data_root) / "login.json"), offload)


def registry_info(config: Config) -> dict[str, object]:
    """Return what `GET /info` says of registries."""
    networks = [word for word in config.insecure_registries if "/" in word]
    hosts = [word for word in config.insecure_registries if "/" not in word]
    mirrors = [f"{mirror.rstrip('/')}/" for mirror in config.registry_mirrors]
    official = _index_config(DEFAULT_DOMAIN, mirrors, secure=True)
    return {
        "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8", *networks],
        "IndexConfigs": {
            DEFAULT_DOMAIN: official,
            **{host: _index_config(host, [], secure=False) for host in hosts},
        },
        "Mirrors": mirrors or None,
    }


def _index_config(name: str, mirrors: list[str], *, secure: bool) -> dict[str, object]:
    return {
        "Name": name,
        "Mirrors": mirrors,
        "Secure": secure,
        "Official": name == DEFAULT_DOMAIN,
    }


def transfer_limits(config: Config) -> TransferLimits:
    """Return how much is transferred at a time."""
    return TransferLimits(
        downloads=config.max_concurrent_downloads, uploads=config.max_concurrent_uploads
    )
