"""What a container may ask of its host, and the words of the refusals and warnings."""

from __future__ import annotations

import pytest
from tests.support.specs import some_facts

from pinnace.contracts.control import CgroupLayout
from pinnace.engine.containers.capabilities import effective
from pinnace.engine.containers.devices import check_devices, parse_rule
from pinnace.engine.containers.limits import check_host_config
from pinnace.engine.containers.security_options import parse_security_options, wanted_seccomp
from pinnace.errors import InvalidParameter
from pinnace.model.container import DeviceMapping, HostConfig, ThrottleDevice, Ulimit
from pinnace.oci.capability import ALL

MIB = 1 << 20
BARE = some_facts(cgroup=CgroupLayout(version=1))


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"memory": 4 * MIB}, "Minimum memory limit allowed is 6MB"),
        (
            {"memory": 64 * MIB, "memory_swap": 32 * MIB},
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            {"memory_swap": 32 * MIB},
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (
            {"memory_swappiness": 101},
            "Invalid value: 101, valid memory swappiness range is 0-100",
        ),
        ({"memory_reservation": MIB}, "Minimum memory reservation allowed is 6MB"),
        (
            {"memory": 10 * MIB, "memory_reservation": 20 * MIB},
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (
            {"nano_cpus": 5_000_000_000},
            "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available",
        ),
        (
            {"nano_cpus": 1, "cpu_period": 1000},
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        ),
        (
            {"nano_cpus": 1, "cpu_quota": 1000},
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            {"cpu_period": 999},
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        ({"cpu_quota": 999}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        (
            {"cpuset_cpus": "0-7"},
            "Requested CPUs are not available - requested 0-7, available: 0-3",
        ),
        ({"cpuset_cpus": "x"}, "Invalid value x for cpuset cpus: invalid format: x"),
        ({"cpuset_cpus": "3-1"}, "Invalid value 3-1 for cpuset cpus: invalid format: 3-1"),
        (
            {"cpuset_cpus": "0-999999999999"},
            "Invalid value 0-999999999999 for cpuset cpus: invalid format: 0-999999999999",
        ),
        (
            {"cpuset_mems": "1"},
            "Requested memory nodes are not available - requested 1, available: 0",
        ),
        ({"blkio_weight": 5}, "Range of blkio weight is from 10 to 1000"),
        (
            {"io_maximum_iops": 1},
            "Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps",
        ),
        (
            {"oom_score_adj": 1001},
            "Invalid value 1001, range for oom score adj is [-1000, 1000]",
        ),
        ({"shm_size": -1}, "SHM size can not be less than 0"),
        ({"pid_mode": "bogus"}, "invalid PID mode: bogus"),
        ({"pid_mode": "container:"}, "invalid PID mode: container:"),
        ({"ipc_mode": "bogus"}, "invalid IPC mode: bogus"),
        ({"uts_mode": "bogus"}, "invalid UTS mode: bogus"),
        ({"cgroupns_mode": "bogus"}, "invalid cgroup namespace mode: bogus"),
        ({"cap_add": ["BOGUS"]}, 'invalid CapAdd: unknown capability: "CAP_BOGUS"'),
        ({"cap_drop": ["BOGUS"]}, 'invalid CapDrop: unknown capability: "CAP_BOGUS"'),
        ({"security_opt": ["bogus"]}, 'invalid --security-opt 1: "bogus"'),
        ({"security_opt": ["bogus=1"]}, 'invalid --security-opt 2: "bogus=1"'),
        (
            {"security_opt": ["no-new-privileges=maybe"]},
            'invalid --security-opt 2: "no-new-privileges=maybe"',
        ),
        ({"ulimits": [Ulimit(name="bogus")]}, "invalid ulimit type: bogus"),
        (
            {"ulimits": [Ulimit(name="nofile", soft=2, hard=1)]},
            "ulimit soft limit must be less than or equal to hard limit: 2 > 1",
        ),
        ({"tmpfs": {"/t": "bogus"}}, 'invalid tmpfs option ["bogus"]'),
        ({"cgroup_parent": "/../x"}, "cgroup-parent '/../x' is not a plain path"),
        ({"device_cgroup_rules": ["c 1:2"]}, "invalid device cgroup rule format: 'c 1:2'"),
        (
            {"cpu_realtime_runtime": 2, "cpu_realtime_period": 1},
            "cpu real-time runtime cannot be higher than cpu real-time period",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(asked, text):
    with pytest.raises(InvalidParameter) as caught:
        check_host_config(HostConfig(**asked), some_facts())
    assert caught.value.message == text


@pytest.mark.parametrize(
    ("asked", "left", "words"),
    [
        ({"memory": 64 * MIB}, {"memory": 0, "memory_swap": -1}, "memory limit capabilities"),
        ({"memory_reservation": 64 * MIB}, {"memory_reservation": 0}, "memory soft limit"),
        ({"memory_swappiness": 1}, {"memory_swappiness": None}, "Memory swappiness discarded."),
        ({"oom_kill_disable": True}, {"oom_kill_disable": None}, "OomKillDisable discarded."),
        ({"pids_limit": 1}, {"pids_limit": None}, "PIDs limit discarded."),
        ({"cpu_shares": 1}, {"cpu_shares": 0}, "Shares discarded."),
        ({"cpu_quota": 1}, {"cpu_quota": 0}, "CPU period/quota discarded."),
        ({"cpu_percent": 1}, {"cpu_percent": 0}, "Percent discarded."),
        ({"cpu_realtime_runtime": 1}, {"cpu_realtime_runtime": 0}, "real-time scheduler"),
        ({"cpuset_cpus": "0"}, {"cpuset_cpus": ""}, "CPUset discarded."),
        ({"blkio_weight": 1}, {"blkio_weight": 0}, "Weight discarded."),
        (
            {"blkio_device_read_bps": [ThrottleDevice(path="/x", rate=1)]},
            {"blkio_device_read_bps": None},
            "Block I/O BPS read limit discarded.",
        ),
    ],
)
def test_what_the_host_cannot_do_is_discarded_with_a_warning(asked, left, words):
    config, warnings = check_host_config(HostConfig(**asked), BARE)
    assert {name: getattr(config, name) for name in left} == left
    assert len(warnings) == 1
    assert words in warnings[0]


def test_cpus_without_the_controller_are_refused():
    with pytest.raises(InvalidParameter, match="NanoCPUs can not be set"):
        check_host_config(HostConfig(nano_cpus=1), BARE)


def test_swap_without_accounting_is_left_alone_with_a_warning():
    features = frozenset(("memory.limit_in_bytes",))
    facts = some_facts(cgroup=CgroupLayout(version=1, features=features))
    config, warnings = check_host_config(HostConfig(memory=64 * MIB), facts)
    assert (config.memory, config.memory_swap) == (64 * MIB, -1)
    assert "Memory limited without swap." in warnings[0]


def test_disabling_the_oom_killer_without_a_limit_is_warned_about():
    _, warnings = check_host_config(HostConfig(oom_kill_disable=True), some_facts())
    assert "OOM killer is disabled" in warnings[0]


def test_an_update_checks_resources_only_and_takes_swap_alone():
    config, warnings = check_host_config(
        HostConfig(memory_swap=64 * MIB, pid_mode="bogus"), some_facts(), update=True
    )
    assert (config.memory_swap, warnings) == (64 * MIB, [])


def test_a_lowered_ulimit_is_warned_about():
    weak = some_facts(capabilities=frozenset())
    asked = HostConfig(ulimits=[Ulimit(name="nofile", soft=1, hard=2000)])
    _, warnings = check_host_config(asked, weak)
    assert warnings == [
        "ulimit nofile: the hard limit cannot be raised above 1024 here. Limit lowered."
    ]


def test_a_private_cgroup_namespace_needs_the_kernel():
    config, warnings = check_host_config(
        HostConfig(cgroupns_mode="private"), some_facts(cgroup_namespaces=False)
    )
    assert config.cgroupns_mode == "host"
    assert len(warnings) == 1


# Capabilities


def chosen(add=(), drop=(), *, privileged=False, available=ALL):
    return effective(add, drop, privileged=privileged, available=available)


def test_the_default_set_has_fourteen():
    assert len(chosen()) == 14


def test_names_are_taken_in_any_letter_case_and_without_prefix():
    assert "CAP_NET_ADMIN" in chosen(["net_admin"])
    assert "CAP_CHOWN" not in chosen(drop=["Cap_Chown"])


def test_all_can_be_added_less_some():
    assert len(chosen(["ALL"])) == 41
    assert set(ALL) - set(chosen(["all"], ["SYS_ADMIN"])) == {"CAP_SYS_ADMIN"}


def test_all_can_be_dropped_but_some():
    assert chosen(["CHOWN"], ["ALL"]) == ["CAP_CHOWN"]
    assert chosen([], ["ALL"]) == []


def test_privileged_has_what_the_host_can_give():
    available = [name for name in ALL if name != "CAP_SYS_RESOURCE"]
    assert chosen(privileged=True, available=available) == available


def test_what_the_host_lacks_cannot_be_added_by_name():
    with pytest.raises(InvalidParameter, match="not available in the current environment"):
        chosen(["SYS_RESOURCE"], available=["CAP_CHOWN"])


# Devices and options


@pytest.mark.parametrize(
    ("text", "major", "minor"),
    [("c 1:3 r", 1, 3), ("b *:* m", None, None), ("a 7:* rwm", 7, None)],
)
def test_device_rules_are_read(text, major, minor):
    rule = parse_rule(text)
    assert (rule.major, rule.minor, rule.allow) == (major, minor, True)


@pytest.mark.parametrize("text", ["", "c", "d 1:1 r", "c 1:1 x", "c 1:1 r\nc 1:1 w", "c -1:1 r"])
def test_malformed_device_rules_are_refused(text):
    with pytest.raises(InvalidParameter):
        parse_rule(text)


def test_a_device_mode_must_be_letters_of_rwm():
    with pytest.raises(InvalidParameter, match="invalid device mode: q"):
        check_devices([DeviceMapping(path_on_host="/dev/a", cgroup_permissions="q")], [])


def test_security_options_are_read_with_both_separators():
    found = parse_security_options(
        ["label:disable", "seccomp=unconfined", "apparmor=x", "no-new-privileges:false"]
    )
    assert (found.labels, found.seccomp, found.apparmor) == (("disable",), "unconfined", "x")
    assert not found.no_new_privileges


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ({}, ""),
        ({"security_opt": ["seccomp=builtin"]}, ""),
        ({"security_opt": ["seccomp=unconfined"]}, None),
        ({"privileged": True}, None),
        ({"privileged": True, "security_opt": ['seccomp={"a":"b=c"}']}, '{"a":"b=c"}'),
    ],
)
def test_the_filter_follows_options_and_privilege(host, wanted):
    assert wanted_seccomp(HostConfig(**host)) == wanted
