"""The daemon's configuration: flags and `/etc/pinnace/daemon.json`, spelled as dockerd's."""

import argparse
import re
from collections.abc import Sequence
from ipaddress import IPv4Interface
from pathlib import Path

import msgspec
from msgspec import field

from pinnace.daemon.image_config import add_image_arguments, check_images
from pinnace.daemon.registry_config import (
    DEFAULT_CERTS_DIRS,
    ProxyConfig,
    add_registry_arguments,
    check_registries,
    check_transfers,
    take_proxies,
)
from pinnace.engine.containers.create import LOG_DRIVERS
from pinnace.errors import InvalidParameter
from pinnace.model.container import Ulimit

DEFAULT_CONFIG = Path("/etc/pinnace/daemon.json")
DEFAULT_HOSTS = ("unix:///run/pinnace/pinnace.sock", "tcp://127.0.0.1:4243")
_LEVELS = ("debug", "info", "warn", "warning", "error", "fatal")
_ULIMIT = re.compile(r"([a-z]+)=(-?\d+)(?::(-?\d+))?")


class RuntimeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An OCI runtime of `runtimes`."""

    path: str = ""
    runtime_args: list[str] = field(name="runtimeArgs", default_factory=list)


class UlimitConfig(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A default ulimit."""

    name: str = ""
    hard: int
    soft: int


class Config(
    msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True
):
    """Every setting, by its key in the configuration file.

    Attributes:
        hosts: Addresses to listen on: `unix://PATH`, `tcp://HOST:PORT`, `fd://`.
        insecure_tcp: Allow plain TCP beyond loopback; warned about at every start.
        default_ulimits: By name.
        log_opts: Default log options of containers.
        nft_table: nftables table of this daemon; "": from the bridge's name.
        max_concurrent_downloads: Of layers, by all pulls together; 0: any number.
        max_concurrent_uploads: Of layers, by all pushes together; 0: any number.
        keep_layer_blobs: Keep the compressed layers that registries sent.
        max_layer_bytes: Of a layer, unpacked.
        max_manifest_bytes: Of a manifest, an index or an image config.
        image_gc_threshold: Percent of the disk in use above which unused images go; 0: never.
    """

    hosts: list[str] = field(default_factory=lambda: list(DEFAULT_HOSTS))
    data_root: str = "/var/lib/pinnace"
    exec_root: str = "/run/pinnace"
    pidfile: str = ""
    log_level: str = "info"
    debug: bool = False
    group: str = "pinnace"
    bridge: str = "pinnace0"
    bip: str = ""
    mtu: int = 1500
    icc: bool = True
    ip_masq: bool = True
    ip: str = "0.0.0.0"  # noqa: S104  Docker's default for published ports
    nft_table: str = ""
    default_runtime: str = "crun"
    runtimes: dict[str, RuntimeConfig] = field(default_factory=dict)
    default_ulimits: dict[str, UlimitConfig] = field(default_factory=dict)
    default_cgroupns_mode: str = ""
    default_shm_size: int = 0
    init: bool = False
    init_path: str = ""
    log_driver: str = "json-file"  # the name that client libraries look for
    log_opts: dict[str, str] = field(default_factory=dict)
    storage_driver: str = ""
    seccomp_profile: str = ""
    dns: list[str] = field(default_factory=list)
    dns_opts: list[str] = field(default_factory=list)
    dns_search: list[str] = field(default_factory=list)
    host_gateway_ip: str = ""
    labels: list[str] = field(default_factory=list)
    tls: bool = False
    tlsverify: bool = False
    tlscacert: str = ""
    tlscert: str = ""
    tlskey: str = ""
    api_cors_header: str = ""
    api_enable_cors: bool = False
    insecure_tcp: bool = False
    shutdown_timeout: int = 15
    registry_mirrors: list[str] = field(default_factory=list)
    insecure_registries: list[str] = field(default_factory=list)
    registry_certs_dirs: list[str] = field(default_factory=lambda: list(DEFAULT_CERTS_DIRS))
    default_registry_url: str = ""
    proxies: ProxyConfig = ProxyConfig()
    max_concurrent_downloads: int = 3
    max_concurrent_uploads: int = 5
    max_download_attempts: int = 5
    keep_layer_blobs: bool = True
    max_image_layers: int = 127
    max_layer_bytes: int = 64 << 30
    max_manifest_bytes: int = 4 << 20
    image_gc_threshold: int = 0

    @property
    def table(self) -> str:
        """The nftables table."""
        return self.nft_table or (
            "pinnace" if self.bridge == "pinnace0" else f"pinnace-{self.bridge}"
        )

    @property
    def pid_path(self) -> Path:
        """The pid file."""
        return Path(self.pidfile) if self.pidfile else Path(self.exec_root) / "pinnace.pid"

    @property
    def origins(self) -> str | None:
        """Origins of web pages that may call the API; None: none."""
        if self.api_cors_header:
            return self.api_cors_header
        return "*" if self.api_enable_cors else None


def parser() -> argparse.ArgumentParser:
    """Return the parser of `pinnace daemon`'s arguments; absent ones are not set."""
    made = argparse.ArgumentParser(
        prog="pinnace daemon",
        description="Run the container engine.",
        argument_default=argparse.SUPPRESS,
    )
    add = made.add_argument
    add("-H", "--host", dest="hosts", action="append", metavar="ADDRESS",
        help="listen on unix://PATH, tcp://HOST:PORT or fd:// (repeatable)")  # fmt: skip
    add("--data-root", "-g", metavar="DIR", help="persistent state")
    add("--exec-root", metavar="DIR", help="volatile state")
    add("-p", "--pidfile", metavar="FILE")
    add("--config-file", metavar="FILE", help=f"default {DEFAULT_CONFIG}")
    add("-l", "--log-level", choices=_LEVELS)
    add("-D", "--debug", action="store_true")
    add("-G", "--group", metavar="GROUP", help="group of unix sockets")
    _network_arguments(made)
    _container_arguments(made)
    add_registry_arguments(made)
    add_image_arguments(made)
    add("--tls", action="store_true", help="use TLS; implied by --tlsverify")
    add("--tlsverify", action="store_true", help="use TLS and verify clients")
    add("--tlscacert", metavar="FILE")
    add("--tlscert", metavar="FILE")
    add("--tlskey", metavar="FILE")
    add("--api-cors-header", metavar="ORIGIN")
    add("--api-enable-cors", action="store_true", help="as --api-cors-header='*'")
    add("--insecure-tcp", action="store_true",
        help="allow plain TCP beyond loopback: whoever connects is root on this host")  # fmt: skip
    add("--shutdown-timeout", type=int, metavar="SECONDS")
    add("--validate", action="store_true", help="check the configuration and exit")
    return made


def _network_arguments(made: argparse.ArgumentParser) -> None:
    add = made.add_argument
    add("-b", "--bridge", metavar="NAME", help="interface of the default bridge")
    add("--bip", metavar="CIDR", help="address of the default bridge")
    add("--mtu", type=int)
    add("--icc", action=argparse.BooleanOptionalAction, help="containers may reach each other")
    add("--ip-masq", action=argparse.BooleanOptionalAction)
    add("--ip", metavar="ADDRESS", help="default address of published ports")
    add("--nft-table", metavar="NAME")
    add("--dns", action="append", metavar="ADDRESS")
    add("--dns-opt", dest="dns_opts", action="append", metavar="OPTION")
    add("--dns-search", action="append", metavar="DOMAIN")
    add("--host-gateway-ip", metavar="ADDRESS")


def _container_arguments(made: argparse.ArgumentParser) -> None:
    add = made.add_argument
    add("--default-runtime", metavar="NAME")
    add("--add-runtime", dest="add_runtimes", action="append", metavar="NAME=PATH")
    add("--default-ulimit", dest="add_ulimits", action="append", metavar="NAME=SOFT[:HARD]")
    add("--default-cgroupns-mode", choices=("private", "host"))
    add("--default-shm-size", type=int, metavar="BYTES")
    add("--init", action="store_true", help="run an init in containers that do not say")
    add("--init-path", metavar="FILE")
    add("--log-driver", choices=LOG_DRIVERS)
    add("--log-opt", dest="add_log_opts", action="append", metavar="KEY=VALUE")
    add("-s", "--storage-driver", choices=("overlay2", "vfs"))
    add("--seccomp-profile", metavar="FILE")
    add("--label", dest="labels", action="append", metavar="KEY=VALUE")


def load(arguments: Sequence[str]) -> tuple[Config, bool]:
    """Merge defaults, configuration file and flags; return it and whether only to validate.

    Raises:
        InvalidParameter: The file cannot be read, a key is unknown, a value impossible, or a
            setting stands in both the file and the flags (as dockerd refuses it).
    """
    given = vars(parser().parse_args(arguments))
    validate = bool(given.pop("validate", False))
    named = given.pop("config_file", None)
    from_file = _read_file(Path(named) if named else DEFAULT_CONFIG, required=named is not None)
    flags = {key.replace("_", "-"): value for key, value in _expand(given).items()}
    both = sorted(set(flags) & set(from_file))
    if both:
        raise InvalidParameter(
            "the following directives are specified both as a flag and in the configuration file: "
            + ", ".join(both)
        )
    try:
        config = msgspec.convert({**from_file, **flags}, Config)
    except msgspec.ValidationError as exc:
        raise InvalidParameter(f"unable to configure the daemon: {exc}") from exc
    check(config)
    return config, validate


def _read_file(path: Path, *, required: bool) -> dict[str, object]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except FileNotFoundError:
        if required:
            raise InvalidParameter(f"the configuration file {path} does not exist") from None
        return {}
    except (OSError, msgspec.MsgspecError) as exc:
        raise InvalidParameter(f"cannot read the configuration file {path}: {exc}") from exc


def _expand(given: dict[str, object]) -> dict[str, object]:
    """Turn NAME=VALUE flags into the mappings the file has."""
    for flag, key in (
        ("add_runtimes", "runtimes"),
        ("add_ulimits", "default_ulimits"),
        ("add_log_opts", "log_opts"),
    ):
        words = given.pop(flag, None)
        if isinstance(words, list):
            given[key] = dict(_pair(key, str(word)) for word in words)
    take_proxies(given)
    return given


def _pair(key: str, word: str) -> tuple[str, object]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise InvalidParameter(f"invalid value for {key.replace('_', '-')}: {word}")
    if key == "runtimes":
        return name, {"path": value}
    if key == "log_opts":
        return name, value
    match = _ULIMIT.fullmatch(word)
    if not match:
        raise InvalidParameter(f"invalid ulimit argument: {word}")
    return name, {"Name": name, "Soft": int(match[2]), "Hard": int(match[3] or match[2])}


def check(config: Config) -> None:
    """Check what types cannot.

    Raises:
        InvalidParameter: A value is impossible, or two do not fit together.
    """
    for key, path in (("data-root", config.data_root), ("exec-root", config.exec_root)):
        if not Path(path).is_absolute():
            raise InvalidParameter(f"{key} must be an absolute path: {path}")
    if not 0 < len(config.bridge) <= 15 or "/" in config.bridge:
        raise InvalidParameter(f"invalid bridge name: {config.bridge}")
    if config.bip:
        _check_bip(config.bip)
    if config.log_driver not in LOG_DRIVERS:
        raise InvalidParameter(f"logger: no log driver named '{config.log_driver}' is registered")
    if config.default_runtime not in {"crun", *config.runtimes}:
        raise InvalidParameter(
            f"specified default runtime '{config.default_runtime}' does not exist"
        )
    for host in config.hosts:
        if not host.startswith(("unix://", "tcp://", "fd://")):
            raise InvalidParameter(f"invalid address to listen on: {host}")
    _check_tls(config)
    check_registries(
        mirrors=config.registry_mirrors,
        insecure=config.insecure_registries,
        certs_dirs=config.registry_certs_dirs,
        default_url=config.default_registry_url,
        proxies=config.proxies,
    )
    check_transfers(
        downloads=config.max_concurrent_downloads,
        uploads=config.max_concurrent_uploads,
        attempts=config.max_download_attempts,
    )
    check_images(
        layers=config.max_image_layers,
        layer_bytes=config.max_layer_bytes,
        manifest_bytes=config.max_manifest_bytes,
        gc_threshold=config.image_gc_threshold,
    )


def _check_tls(config: Config) -> None:
    if (config.tls or config.tlsverify) and not (config.tlscert and config.tlskey):
        raise InvalidParameter("TLS needs tlscert and tlskey")
    if config.tlsverify and not config.tlscacert:
        raise InvalidParameter("tlsverify needs tlscacert")


def _check_bip(text: str) -> None:
    try:
        interface = IPv4Interface(text)
    except ValueError as exc:
        raise InvalidParameter(f"invalid bip: {exc}") from exc
    if interface.ip == interface.network.network_address:
        raise InvalidParameter(f"invalid bip: {text} is the network's own address")


def ulimits(config: Config) -> dict[str, Ulimit]:
    """Return the default ulimits as containers' records have them."""
    return {
        name: Ulimit(name=name, hard=limit.hard, soft=limit.soft)
        for name, limit in config.default_ulimits.items()
    }
