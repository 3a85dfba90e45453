"""Writes containers' etc files from the host's configuration and the container's record."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pinnace.engine.containers.etcfiles import (
    Resolver,
    hostname_file,
    hosts_file,
    parse_resolv_conf,
    resolv_conf,
)
from pinnace.model.container import Container
from pinnace.model.endpoint import EndpointSettings


@dataclass(frozen=True, slots=True)
class ContainerEtcFiles:
    """Implements `runner.EtcFiles`.

    Attributes:
        host_resolv_conf: Reads the resolv.conf that containers inherit.
        host_hosts: Reads the host's /etc/hosts.
        daemon_dns: The daemon's own `--dns…` settings.
        gateways: What `host-gateway` means; empty: the container's gateway.
    """

    host_resolv_conf: Callable[[], str]
    host_hosts: Callable[[], str]
    daemon_dns: Resolver = Resolver()  # noqa: RUF009 (frozen)
    gateways: Sequence[str] = ()

    def __call__(
        self, container: Container, networks: Mapping[str, EndpointSettings]
    ) -> dict[str, str]:
        """See `runner.EtcFiles`."""
        config, host = container.config, container.host_config
        on_host = host.network_mode == "host"
        endpoints = [endpoint for endpoint in networks.values() if endpoint.ip_address]
        asked = Resolver(
            servers=tuple(host.dns or self.daemon_dns.servers),
            search=tuple(host.dns_search or self.daemon_dns.search),
            options=tuple(host.dns_options or self.daemon_dns.options),
        )
        return {
            "hosts": hosts_file(
                hostname=config.hostname,
                domainname=config.domainname,
                addresses=[endpoint.ip_address for endpoint in endpoints],
                extra=host.extra_hosts or (),
                gateways=self.gateways or [endpoint.gateway for endpoint in endpoints],
                host_file=self.host_hosts() if on_host else None,
            ),
            "hostname": hostname_file(config.hostname),
            "resolv.conf": resolv_conf(
                parse_resolv_conf(self.host_resolv_conf()), asked, host_network=on_host, ipv6=False
            ),
        }
