"""What `info` and `version` say of the daemon itself."""

import os
import platform as machine
import socket
import time
from pathlib import Path

from pinnace.api.versions import NEWEST, OLDEST
from pinnace.daemon.config import Config
from pinnace.daemon.host import Host
from pinnace.daemon.registries import registry_info
from pinnace.daemon.roots import engine_id
from pinnace.engine.system import EngineFacts
from pinnace.version import __version__


def engine_facts(host: Host) -> EngineFacts:
    """Gather what does not change while the daemon runs."""
    config = host.config
    release = machine.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    return EngineFacts(
        id=engine_id(Path(config.data_root)),
        version=__version__,
        api_version=f"{NEWEST.major}.{NEWEST.minor}",
        min_api_version=f"{OLDEST.major}.{OLDEST.minor}",
        data_root=config.data_root,
        host_name=socket.gethostname(),
        operating_system=release.get("PRETTY_NAME", "Linux"),
        os_version=release.get("VERSION_ID", ""),
        storage_driver=host.snapshots.driver,
        backing_filesystem=filesystem_of(Path(config.data_root)),
        log_driver=config.log_driver,
        runtimes={
            name: (runtime.program, runtime.version) for name, runtime in host.runtimes.items()
        },
        default_runtime=config.default_runtime,
        labels=config.labels,
        registries=registry_info(config),
        debug=config.debug,
        init_binary=host.init_path,
        warnings=exposure_warnings(config),
        started_ns=time.time_ns(),
    )


def exposure_warnings(config: Config) -> list[str]:
    """Return what `info` and the log say of an API that the network can reach."""
    if not config.insecure_tcp:
        return []
    return [
        f"WARNING: API is accessible on {address} without encryption. Access to the remote API is"
        " equivalent to root access on the host."
        for address in config.hosts
        if address.startswith("tcp://") and not config.tlsverify
    ]


def filesystem_of(path: Path) -> str:
    """Return the type of the filesystem that holds `path`, such as `ext4`."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[2] == wanted:
            return words[words.index("-") + 1]
    return "unknown"
