"""The default filter, custom profiles, and their compiled form."""

from __future__ import annotations

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.bpf import AARCH64, ALLOW, ERRNO, X86, verdict
from tests.support.specs import some_facts

from pinnace.engine.containers.capabilities import DEFAULT
from pinnace.errors import InvalidParameter
from pinnace.host.security.seccomp import Filters, custom_filter, default_filter
from pinnace.host.security.seccomp_profile import RULES
from pinnace.oci.capability import ALL

EPERM, ENOSYS = ERRNO | 1, ERRNO | 38
# x86-64 numbers.
READ, SOCKET, CLONE, PTRACE, PERSONALITY, MOUNT, UNSHARE = 0, 41, 56, 101, 135, 165, 272
CLONE3, IO_URING_SETUP, FCHMODAT2, MSEAL = 435, 425, 452, 462
X32 = 0x40000000


def compiled(tmp_path, capabilities=DEFAULT, *, profile="", **facts) -> bytes:
    filters = Filters(tmp_path / "cache", some_facts(**facts))
    return base64.b64decode(filters.choose(profile, capabilities, compiled=True).bpf)


@pytest.fixture
def usual(tmp_path) -> bytes:
    return compiled(tmp_path)


def names(capabilities, **facts):
    profile = default_filter(capabilities, some_facts(**facts))
    return {
        name for rule in profile.syscalls if rule.action == "SCMP_ACT_ALLOW" for name in rule.names
    }


def test_no_call_is_listed_twice_without_a_condition():
    seen: set[str] = set()
    for rule in RULES:
        if not (rule.capabilities or rule.comparisons or rule.architectures or rule.without):
            assert len(rule.names) == len(set(rule.names))
            assert not seen & set(rule.names), seen & set(rule.names)
            seen |= set(rule.names)


def test_about_four_hundred_calls_are_known():
    assert 380 <= len(names(ALL)) <= 440


@pytest.mark.parametrize(
    "name",
    [
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "keyctl",
        "add_key",
        "request_key",
        "userfaultfd",
        "kexec_load",
        "kexec_file_load",
        "pivot_root",
        "swapon",
        "nfsservctl",
        "create_module",
    ],
)
def test_some_calls_are_never_allowed(name):
    assert name not in names(ALL)


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("mount", "SYS_ADMIN"),
        ("umount2", "SYS_ADMIN"),
        ("unshare", "SYS_ADMIN"),
        ("setns", "SYS_ADMIN"),
        ("bpf", "BPF"),
        ("perf_event_open", "PERFMON"),
        ("open_by_handle_at", "DAC_READ_SEARCH"),
        ("finit_module", "SYS_MODULE"),
        ("reboot", "SYS_BOOT"),
        ("clock_settime", "SYS_TIME"),
        ("iopl", "SYS_RAWIO"),
        ("kcmp", "SYS_PTRACE"),
    ],
)
def test_some_calls_come_with_a_capability(name, capability):
    assert name not in names(DEFAULT)
    assert name in names([*DEFAULT, f"CAP_{capability}"])


def test_tracing_needs_a_kernel_that_filters_tracers():
    assert "ptrace" in names(DEFAULT, kernel=(4, 8))
    assert "ptrace" not in names(DEFAULT, kernel=(4, 7))


def test_ordinary_calls_pass_and_others_do_not(usual):
    assert verdict(usual, READ) == ALLOW
    assert verdict(usual, PTRACE) == ALLOW
    assert verdict(usual, MOUNT) == EPERM
    assert verdict(usual, UNSHARE) == EPERM
    assert verdict(usual, IO_URING_SETUP) == EPERM


def test_clone_passes_without_namespaces_only(usual):
    assert verdict(usual, CLONE, 0x11) == ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(usual, CLONE, 0x11 | flag) == EPERM


def test_clone3_is_said_not_to_exist(usual):
    assert verdict(usual, CLONE3) == ENOSYS


def test_an_administrator_may_make_namespaces(tmp_path):
    code = compiled(tmp_path, [*DEFAULT, "CAP_SYS_ADMIN"])
    assert verdict(code, CLONE, 0x10000000) == ALLOW
    assert verdict(code, CLONE3) == ALLOW
    assert verdict(code, MOUNT) == ALLOW


def test_two_socket_families_are_refused(usual):
    for family in range(60):
        wanted = EPERM if family in (38, 40) else ALLOW
        assert verdict(usual, SOCKET, family) == wanted


def test_the_old_socket_multiplexer_is_no_way_around(usual):
    for call in range(1, 21):
        assert verdict(usual, 102, call, arch=X86) == ENOSYS
    assert verdict(usual, 359, 2, arch=X86) == ALLOW
    assert verdict(usual, 359, 38, arch=X86) == EPERM


def test_five_personalities_pass(usual):
    allowed = {0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF}
    for value in (*allowed, 0x4, 0x40000, 0x400000):
        assert (verdict(usual, PERSONALITY, value) == ALLOW) == (value in allowed)


def test_the_other_architectures_of_the_processor_are_filtered_too(usual):
    assert verdict(usual, 3, arch=X86) == ALLOW  # read
    assert verdict(usual, 21, arch=X86) == EPERM  # mount
    assert verdict(usual, X32 | READ) == ALLOW
    assert verdict(usual, X32 | MOUNT) == EPERM


def test_a_foreign_architecture_is_not_allowed(usual):
    assert verdict(usual, 63, arch=AARCH64) != ALLOW


def test_calls_younger_than_the_library_are_decided_all_the_same(usual):
    assert verdict(usual, FCHMODAT2) == ALLOW
    assert verdict(usual, MSEAL) == ALLOW
    assert verdict(usual, 459) == EPERM  # lsm_get_self_attr: known, not listed


def test_calls_of_the_future_answer_that_they_do_not_exist(usual):
    for number in (468, 500, 9999):
        assert verdict(usual, number) == ENOSYS
        assert verdict(usual, number, arch=X86) == ENOSYS


def test_arm64_gets_a_filter_of_its_own(tmp_path):
    code = compiled(tmp_path, architecture="arm64")
    assert verdict(code, 63, arch=AARCH64) == ALLOW  # read
    assert verdict(code, 40, arch=AARCH64) == EPERM  # mount


def test_a_compiled_filter_is_kept_and_read_back(tmp_path):
    first = compiled(tmp_path)
    (kept,) = (tmp_path / "cache").iterdir()
    assert kept.read_bytes() == first
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert compiled(tmp_path) == first


def test_capabilities_without_a_say_share_one_filter(tmp_path):
    filters = Filters(tmp_path, some_facts())
    first = filters.choose("", DEFAULT, compiled=True)
    assert filters.choose("", [*DEFAULT, "CAP_NET_ADMIN"], compiled=True) is first


def test_first_starts_at_once_compile_one_filter(tmp_path):
    # Two threads wrote the same temporary file, and the second could not rename it any more.
    for number in range(3):
        filters = Filters(tmp_path / str(number), some_facts())
        together = threading.Barrier(8)

        def choose(_, filters=filters, together=together):
            together.wait()
            return filters.choose("", DEFAULT, compiled=True).bpf

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(choose, range(8)))) == 1


# Custom profiles


def profile(**changes) -> str:
    base = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}],
    }
    return json.dumps(base | changes)


def rules(text, capabilities=DEFAULT, **facts):
    found = custom_filter(text, capabilities, some_facts(**facts))
    return [name for rule in found.syscalls for name in rule.names]


def test_a_custom_profile_allows_what_it_names(tmp_path):
    code = compiled(tmp_path, profile=profile())
    assert verdict(code, READ) == ALLOW
    assert verdict(code, 1) == EPERM


def test_a_profile_that_allows_by_default_is_left_as_it_is(tmp_path):
    text = profile(
        defaultAction="SCMP_ACT_ALLOW",
        syscalls=[{"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}],
    )
    code = compiled(tmp_path, profile=text)
    assert verdict(code, 90) == ERRNO | 5
    assert verdict(code, 9999) == ALLOW


@pytest.mark.parametrize(
    ("condition", "counts"),
    [
        ({"includes": {"caps": ["CAP_CHOWN"]}}, True),
        ({"includes": {"caps": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}}, False),
        ({"includes": {"arches": ["amd64"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"includes": {"minKernel": "6.1"}}, True),
        ({"includes": {"minKernel": "6.2"}}, False),
        ({"excludes": {"caps": ["CAP_CHOWN"]}}, False),
        ({"excludes": {"caps": ["CAP_SYS_ADMIN"]}}, True),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"excludes": {"minKernel": "6.1"}}, False),
    ],
)
def test_conditions_decide_whether_a_rule_counts(condition, counts):
    call = {"names": ["read"], "action": "SCMP_ACT_ALLOW"} | condition
    assert rules(profile(syscalls=[call])) == (["read"] if counts else [])


def test_comparisons_of_one_argument_are_alternatives(tmp_path):
    args = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (1, 2)]
    call = {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": args}
    code = compiled(tmp_path, profile=profile(syscalls=[call]))
    assert [verdict(code, PERSONALITY, value) == ALLOW for value in (1, 2, 3)] == [
        True,
        True,
        False,
    ]


def test_the_single_name_of_old_profiles_is_read():
    assert rules(profile(syscalls=[{"name": "read", "action": "SCMP_ACT_ALLOW"}])) == ["read"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "Decoding seccomp profile failed"),
        ("[]", "Decoding seccomp profile failed"),
        ("{}", "invalid seccomp action: ''"),
        (profile(architectures=["SCMP_ARCH_X86"]), "use either 'architectures' or 'archMap'"),
        (
            profile(syscalls=[{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}]),
            "use either 'name' or 'names'",
        ),
        (profile(syscalls=[{"names": ["a"], "action": "BOGUS"}]), "invalid seccomp action"),
        (
            profile(
                syscalls=[
                    {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"op": "BOGUS"}]}
                ]
            ),
            "invalid seccomp operator",
        ),
        (
            profile(
                syscalls=[
                    {
                        "names": ["read"],
                        "action": "SCMP_ACT_ALLOW",
                        "args": [{"op": "SCMP_CMP_EQ", "index": 6}],
                    }
                ]
            ),
            "invalid seccomp argument index",
        ),
        (
            profile(
                syscalls=[
                    {
                        "names": ["a"],
                        "action": "SCMP_ACT_ALLOW",
                        "includes": {"minKernel": "new"},
                    }
                ]
            ),
            "invalid kernel version",
        ),
    ],
)
def test_wrong_profiles_are_refused(text, words):
    with pytest.raises(InvalidParameter, match=words):
        custom_filter(text, DEFAULT, some_facts())


def test_a_profile_nested_without_end_is_refused():
    with pytest.raises(InvalidParameter, match="Decoding seccomp profile failed"):
        custom_filter('{"x":' * 50_000, (), some_facts())


def test_an_unknown_architecture_is_refused_when_compiled(tmp_path):
    text = profile(archMap=None, architectures=["SCMP_ARCH_BOGUS"])
    with pytest.raises(InvalidParameter, match="invalid seccomp architecture"):
        compiled(tmp_path, profile=text)


def test_a_host_without_filters_refuses_a_custom_profile(tmp_path):
    with pytest.raises(InvalidParameter, match="seccomp is not enabled in your kernel"):
        compiled(tmp_path, profile=profile(), seccomp=False)
