"""Names of users and groups to numbers."""

from __future__ import annotations

import os

import pytest

from pinnace.errors import InvalidParameter
from pinnace.host.kernel.paths import directory
from pinnace.host.runtime.users import identity, resolve_identity

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
# a comment:x:1:1::/:
web:x:33:33:web:/srv:/bin/false
1000:x:7:8:a name of digits:/odd:
broken:x:notanumber:0::/:
short:x:1
"""
GROUP = """\
root:x:0:
wheel:x:10:root,web
web:x:33:
audio:x:63:web
"""


def resolve(user, *more):
    return identity(user, more, passwd=PASSWD, group=GROUP)


def resolve_in(root, user):
    with directory(root) as root_fd:
        return resolve_identity(root_fd, user)


def test_no_user_is_root_with_its_groups_and_home():
    found = resolve("")
    assert (found.uid, found.gid, found.groups, found.home) == (0, 0, (0, 10), "/root")


def test_a_name_brings_its_primary_and_supplementary_groups():
    found = resolve("web")
    assert (found.uid, found.gid, found.groups, found.home) == (33, 33, (10, 33, 63), "/srv")


def test_a_group_of_its_own_replaces_the_supplementary_ones():
    found = resolve("web:audio")
    assert (found.uid, found.gid, found.groups) == (33, 63, (63,))


def test_numbers_need_no_entry():
    found = resolve("4000:5000")
    assert (found.uid, found.gid, found.groups, found.home) == (4000, 5000, (5000,), "/")


def test_a_number_with_an_entry_takes_its_group_and_home():
    assert resolve("33").gid == 33


def test_a_name_of_digits_is_found_as_a_name():
    assert resolve("1000").uid == 7


def test_added_groups_come_by_name_and_by_number():
    assert resolve("4000", "audio", "1234").groups == (0, 63, 1234)


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("web:none", "unable to find group none: no matching entries in group file"),
        ("broken", "unable to find user broken: no matching entries in passwd file"),
        ("4294967296", "uids and gids must be in range 0-2147483647"),
        ("0:2147483648", "uids and gids must be in range 0-2147483647"),
        ("-1", "uids and gids must be in range 0-2147483647"),
        ("1_0", "unable to find user 1_0: no matching entries in passwd file"),
    ],
)
def test_what_cannot_be_found_is_refused(user, text):
    with pytest.raises(InvalidParameter, match=f"^{text}$"):
        resolve(user)


def test_files_are_read_inside_the_root_through_links(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/passwd").write_text("app:x:12:13::/app:\n")
    (tmp_path / "etc/passwd").symlink_to("/data/passwd")
    assert resolve_in(tmp_path, "app").uid == 12


def test_an_empty_root_knows_only_numbers(tmp_path):
    assert resolve_in(tmp_path, "").uid == 0
    with pytest.raises(InvalidParameter):
        resolve_in(tmp_path, "app")


def test_a_fifo_in_place_of_passwd_does_not_block(tmp_path):
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/passwd")
    assert resolve_in(tmp_path, "5").uid == 5


def test_a_link_out_of_the_root_stays_inside(tmp_path):
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "outside").write_text("evil:x:0:0::/:\n")
    (root / "etc/passwd").symlink_to("../../outside")
    with pytest.raises(InvalidParameter):
        resolve_in(root, "evil")


def test_a_huge_passwd_is_refused(tmp_path):
    (tmp_path / "etc").mkdir()
    with (tmp_path / "etc/passwd").open("wb") as file:
        file.truncate(5 << 20)
    with pytest.raises(InvalidParameter, match="larger than"):
        resolve_in(tmp_path, "app")
