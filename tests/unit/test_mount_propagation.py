"""How mounts of the host spread."""

from __future__ import annotations

from pinnace.host.runtime.propagation import mount_propagations

TABLE = """\
23 1 0:22 / / rw,relatime shared:1 - ext4 /dev/a rw
24 23 0:23 / /srv rw,relatime master:2 - tmpfs t rw
25 23 0:24 / /srv/my\\040data rw,relatime - tmpfs t rw
26 23 0:25 / /both rw shared:3 master:1 - tmpfs t rw
"""


def test_the_innermost_mount_decides():
    paths = ["/", "/srvx", "/srv/a", "/srv/my data/b", "/both/c"]
    assert mount_propagations(paths, TABLE) == {
        "/": "shared",
        "/srvx": "shared",
        "/srv/a": "slave",
        "/srv/my data/b": "private",
        "/both/c": "shared",
    }


def test_the_kernels_own_table_is_read():
    assert set(mount_propagations(["/proc"])) == {"/proc"}
