"""A container's record to the runtime specification."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.specs import V2, a_record, some_facts, some_inputs

from pinnace.contracts.control import DeviceNode, Identity
from pinnace.engine.containers.spec import (
    cgroup_path,
    environment,
    exec_process_spec,
    in_network,
    runtime_spec,
    with_guarded_paths,
)
from pinnace.engine.containers.spec_mounts import MountInputs, tmpfs_options
from pinnace.errors import InvalidParameter
from pinnace.model.container import (
    ContainerConfig,
    DeviceMapping,
    MountRecord,
    ThrottleDevice,
    Ulimit,
    WeightDevice,
)
from pinnace.model.exec import ExecConfig
from pinnace.oci.runtime_spec import UNLIMITED, encode

GOLDEN = Path(__file__).parent / "golden" / "spec"


def made(container=None, *, facts=None, **inputs):
    """The spec as the runtime reads it."""
    spec = runtime_spec(container or a_record(), facts or some_facts(), some_inputs(**inputs))
    return json.loads(encode(spec))


def mount(spec, destination):
    found = [each for each in spec["mounts"] if each["destination"] == destination]
    assert len(found) == 1, found
    return found[0]


def namespaces(spec):
    return {each["type"]: each.get("path", "") for each in spec["linux"]["namespaces"]}


@pytest.mark.parametrize(
    ("name", "container", "facts"),
    [
        ("default", a_record(), some_facts()),
        ("privileged", a_record(privileged=True), some_facts()),
        ("cgroup2", a_record(memory=64 << 20, pids_limit=10), some_facts(cgroup=V2)),
    ],
)
def test_the_whole_spec_is_as_recorded(name, container, facts):
    recorded = json.loads((GOLDEN / f"{name}.json").read_text())
    assert made(container, facts=facts) == recorded


# Process


def test_command_and_arguments_follow_each_other():
    assert made()["process"]["args"] == ["/bin/app", "-v"]


def test_init_goes_in_front_and_is_bound_read_only():
    spec = made(a_record(init=True), files=MountInputs(init="/usr/bin/tini"))
    assert spec["process"]["args"] == ["/sbin/docker-init", "--", "/bin/app", "-v"]
    assert mount(spec, "/sbin/docker-init")["options"] == ["bind", "ro"]


def test_init_stays_out_of_another_pid_namespace():
    spec = made(a_record(init=True, pid_mode="host"), files=MountInputs(init="/usr/bin/tini"))
    assert spec["process"]["args"][0] == "/bin/app"
    assert all(each["destination"] != "/sbin/docker-init" for each in spec["mounts"])


def test_the_environment_has_path_hostname_and_home():
    assert made()["process"]["env"] == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME=web",
        "HOME=/",
    ]


def test_the_record_wins_over_the_defaults_and_can_take_names_away():
    config = ContainerConfig(hostname="web", env=["PATH=/x", "A=1", "HOSTNAME", "A=2"])
    found = environment(a_record(config=config), Identity(home="/root"), tty=True)
    assert found == ["PATH=/x", "TERM=xterm", "A=2", "HOME=/root"]


def test_a_terminal_is_asked_for_with_its_size():
    config = ContainerConfig(hostname="web", tty=True)
    process = made(a_record(config=config, console_size=[24, 80]))["process"]
    assert process["terminal"] is True
    assert process["consoleSize"] == {"height": 24, "width": 80}


def test_ids_groups_and_umask_arrive_in_numbers():
    process = made(a_record(umask=0o27), identity=Identity(5, 6, (6, 7)))["process"]
    assert process["user"] == {"uid": 5, "gid": 6, "additionalGids": [6, 7], "umask": 0o27}


def test_other_users_hold_nothing_but_keep_the_bounding_set():
    sets = made(identity=Identity(5, 6))["process"]["capabilities"]
    assert len(sets["bounding"]) == 14
    assert sets["effective"] == sets["permitted"] == []


def test_nothing_is_inheritable_or_ambient():
    assert set(made()["process"]["capabilities"]) == {"bounding", "effective", "permitted"}


def test_the_working_directory_defaults_to_the_root():
    assert made()["process"]["cwd"] == "/"
    config = ContainerConfig(hostname="web", working_dir="/srv")
    assert made(a_record(config=config))["process"]["cwd"] == "/srv"


def test_no_new_privileges_is_passed_on():
    for option in ("no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"):
        assert made(a_record(security_opt=[option]))["process"]["noNewPrivileges"] is True
    assert "noNewPrivileges" not in made()["process"]


def test_limits_beyond_the_hosts_are_lowered_where_they_cannot_be_raised():
    limits = [Ulimit(name="nofile", soft=4096, hard=-1), Ulimit(name="core", soft=0, hard=-1)]
    weak = some_facts(capabilities=frozenset())
    assert made(a_record(ulimits=limits), facts=weak)["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024},
        {"type": "RLIMIT_CORE", "hard": UNLIMITED, "soft": 0},
    ]
    assert made(a_record(ulimits=limits))["process"]["rlimits"][0]["hard"] == UNLIMITED


def test_the_oom_score_is_not_lowered_without_the_capability():
    assert made(a_record(oom_score_adj=-500))["process"]["oomScoreAdj"] == -500
    weak = some_facts(capabilities=frozenset(), oom_score_adj=-100)
    assert made(a_record(oom_score_adj=-500), facts=weak)["process"]["oomScoreAdj"] == -100


def test_apparmor_is_refused_where_there_is_none():
    with pytest.raises(InvalidParameter, match="AppArmor"):
        made(a_record(security_opt=["apparmor=mine"]))
    assert "apparmorProfile" not in made(a_record(security_opt=["apparmor=unconfined"]))["process"]


# Mounts


def test_mounts_come_outermost_first_with_the_etc_files_among_them():
    records = [
        MountRecord(type="bind", destination="/a/b/c", source="/h/c"),
        MountRecord(type="bind", destination="/a", source="/h/a"),
    ]
    given = [each["destination"] for each in made(a_record(mounts=records))["mounts"]][7:]
    assert given == ["/a", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts", "/a/b/c"]


@pytest.mark.parametrize(
    ("record", "options"),
    [
        ({}, ["rbind", "rprivate"]),
        ({"rw": False}, ["rbind", "rro", "rprivate"]),
        ({"rw": False, "read_only_recursive": False}, ["rbind", "ro", "rprivate"]),
        ({"rw": False, "recursive": False}, ["bind", "ro", "rprivate"]),
        ({"propagation": "private"}, ["rbind", "private"]),
    ],
)
def test_binds_carry_access_and_propagation(record, options):
    bind = MountRecord(type="bind", destination="/m", source="/h", **record)
    assert mount(made(a_record(mounts=[bind])), "/m") == {
        "destination": "/m",
        "type": "bind",
        "source": "/h",
        "options": options,
    }


def test_a_volume_that_is_a_mount_keeps_its_flags_in_the_container():
    options = ["type=tmpfs", "device=tmpfs", "o=size=2m,nosuid,noexec,ro"]
    volume = MountRecord(type="volume", destination="/m", source="/h/_data", options=options)
    bind = mount(made(a_record(mounts=[volume])), "/m")
    assert bind["options"] == ["rbind", "nosuid", "noexec", "rprivate"]


def test_an_image_mount_is_a_read_only_bind_of_where_it_was_mounted():
    image = MountRecord(type="image", destination="/m", name="busybox", rw=False)
    files = MountInputs(sources={"/m": "/bundle/image-0"})
    bind = mount(made(a_record(mounts=[image]), files=files), "/m")
    assert (bind["source"], bind["options"]) == ("/bundle/image-0", ["rbind", "rro", "rprivate"])


def test_the_network_is_put_into_a_finished_spec():
    def spec_in(record, path):
        described = in_network(runtime_spec(record, some_facts(), some_inputs(netns="")), path)
        return namespaces(json.loads(encode(described)))

    assert spec_in(a_record(), "/run/netns/x") == namespaces(made(netns="/run/netns/x"))
    assert spec_in(a_record(), "") == namespaces(made(netns=""))
    assert "network" not in spec_in(a_record(network_mode="host"), "")


def test_a_read_only_file_is_not_bound_recursively():
    # crun 1.8 opens the target of `rro` as a directory: "Not a directory"
    bind = MountRecord(type="bind", destination="/m", source="/h", rw=False)
    spec = made(a_record(mounts=[bind]), files=MountInputs(plain_files={"/h"}))
    assert mount(spec, "/m")["options"] == ["rbind", "ro", "rprivate"]


def test_a_shared_bind_needs_a_shared_source_and_makes_the_root_shared():
    record = a_record(
        mounts=[MountRecord(type="bind", destination="/m", source="/h", propagation="rshared")]
    )
    with pytest.raises(InvalidParameter, match="not a shared mount"):
        made(record, files=MountInputs(propagations={"/h": "slave"}))
    spec = made(record, files=MountInputs(propagations={"/h": "shared"}))
    assert spec["linux"]["rootfsPropagation"] == "shared"


def test_a_slave_bind_takes_a_shared_or_slave_source():
    record = a_record(
        mounts=[MountRecord(type="bind", destination="/m", source="/h", propagation="rslave")]
    )
    with pytest.raises(InvalidParameter, match="not a shared or slave mount"):
        made(record, files=MountInputs(propagations={"/h": "private"}))
    spec = made(record, files=MountInputs(propagations={"/h": "slave"}))
    assert spec["linux"]["rootfsPropagation"] == "rslave"


def test_a_subpath_replaces_the_recorded_source():
    volume = MountRecord(type="volume", destination="/m", source="/v", subpath="x")
    spec = made(a_record(mounts=[volume]), files=MountInputs(sources={"/m": "/v/x"}))
    assert mount(spec, "/m")["source"] == "/v/x"


def test_tmpfs_mounts_are_strict_unless_asked_otherwise():
    records = [
        MountRecord(type="tmpfs", destination="/t"),
        MountRecord(type="tmpfs", destination="/u", options=["exec", "size=1m", "mode=700"]),
    ]
    spec = made(a_record(mounts=records))
    assert mount(spec, "/t")["options"] == ["noexec", "nosuid", "nodev", "rprivate"]
    assert mount(spec, "/u")["options"] == [
        "nosuid",
        "nodev",
        "rprivate",
        "exec",
        "size=1m",
        "mode=700",
    ]


def test_unknown_tmpfs_options_are_refused():
    for option in ("bogus", "bogus=1", "size"):
        with pytest.raises(InvalidParameter, match="invalid tmpfs option"):
            tmpfs_options([option])


def test_a_mount_of_the_users_replaces_ours():
    records = [
        MountRecord(type="bind", destination="/dev/shm", source="/h/shm"),
        MountRecord(type="bind", destination="/etc/hosts", source="/h/hosts"),
    ]
    spec = made(a_record(mounts=records))
    assert mount(spec, "/dev/shm")["source"] == "/h/shm"
    assert mount(spec, "/etc/hosts")["source"] == "/h/hosts"


def test_a_mount_at_dev_replaces_everything_below_it():
    spec = made(a_record(mounts=[MountRecord(type="bind", destination="/dev", source="/h")]))
    below = [each for each in spec["mounts"] if each["destination"].startswith("/dev")]
    assert [each["source"] for each in below] == ["/h"]


def test_shared_memory_has_the_asked_size():
    assert "size=67108864" in mount(made(), "/dev/shm")["options"]
    assert "size=1048576" in mount(made(a_record(shm_size=1 << 20)), "/dev/shm")["options"]


def test_shared_memory_follows_the_ipc_mode():
    shared = made(a_record(ipc_mode="shareable"), files=MountInputs(shm="/d/shm"))
    assert mount(shared, "/dev/shm")["source"] == "/d/shm"
    none = made(a_record(ipc_mode="none"))
    assert all(each["destination"] != "/dev/shm" for each in none["mounts"])
    host = made(a_record(ipc_mode="host"), files=MountInputs(shm="/dev/shm"))
    assert mount(host, "/dev/shm")["source"] == "/dev/shm"


def test_a_read_only_root_makes_the_etc_files_read_only():
    spec = made(a_record(readonly_rootfs=True))
    assert spec["root"]["readonly"] is True
    assert mount(spec, "/etc/hosts")["options"] == ["rbind", "ro", "rprivate"]


def test_privileged_gets_writable_sys_and_cgroups_unless_the_root_is_read_only():
    spec = made(a_record(privileged=True))
    assert "rw" in mount(spec, "/sys")["options"]
    assert "rw" in mount(spec, "/sys/fs/cgroup")["options"]
    spec = made(a_record(privileged=True, readonly_rootfs=True))
    assert "ro" in mount(spec, "/sys")["options"]


def test_control_groups_can_be_made_writable_on_request():
    spec = made(a_record(security_opt=["writable-cgroups=true"]))
    assert "rw" in mount(spec, "/sys/fs/cgroup")["options"]


# Namespaces


def test_a_container_has_its_own_namespaces():
    assert namespaces(made()) == {
        "mount": "",
        "uts": "",
        "pid": "",
        "ipc": "",
        "network": "/run/netns/x",
    }


def test_cgroup_namespaces_are_private_on_version_2_and_on_request():
    assert "cgroup" in namespaces(made(facts=some_facts(cgroup=V2)))
    assert "cgroup" in namespaces(made(a_record(cgroupns_mode="private")))
    host = made(a_record(cgroupns_mode="host"), facts=some_facts(cgroup=V2))
    assert "cgroup" not in namespaces(host)


def test_host_modes_leave_namespaces_out():
    record = a_record(pid_mode="host", ipc_mode="host", uts_mode="host", network_mode="host")
    spec = made(record)
    assert namespaces(spec) == {"mount": ""}
    assert "hostname" not in spec
    assert "sysctl" not in spec["linux"]


def test_namespaces_of_other_containers_are_joined_by_path():
    record = a_record(pid_mode="container:a", ipc_mode="container:a", network_mode="container:a")
    joined = {"pid": "/proc/9/ns/pid", "ipc": "/proc/9/ns/ipc", "network": "/proc/9/ns/net"}
    found = namespaces(made(record, joined=joined))
    assert {key: found[key] for key in joined} == joined


# Devices


NODE = DeviceNode("/dev/fuse", "c", 10, 229, 0o660, 0, 44)


def test_a_device_becomes_a_node_and_a_rule():
    mapping = DeviceMapping(path_on_host="/dev/fuse", path_in_container="/dev/f")
    linux = made(a_record(devices=[mapping]), nodes={"/dev/fuse": [NODE]})["linux"]
    assert linux["devices"] == [
        {
            "path": "/dev/f",
            "type": "c",
            "major": 10,
            "minor": 229,
            "fileMode": 0o660,
            "uid": 0,
            "gid": 44,
        }
    ]
    rule = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}
    assert linux["resources"]["devices"][-1] == rule


def test_a_directory_of_devices_keeps_its_shape():
    nodes = [
        DeviceNode("/dev/snd/a", "c", 116, 1, 0o660, 0, 0),
        DeviceNode("/dev/snd/b/c", "c", 116, 2, 0o660, 0, 0),
    ]
    mapping = DeviceMapping(path_on_host="/dev/snd", path_in_container="/dev/sound")
    linux = made(a_record(devices=[mapping]), nodes={"/dev/snd": nodes})["linux"]
    assert [each["path"] for each in linux["devices"]] == ["/dev/sound/a", "/dev/sound/b/c"]


def test_a_missing_device_is_refused():
    mapping = DeviceMapping(path_on_host="/dev/none", path_in_container="/dev/none")
    with pytest.raises(InvalidParameter, match='adding custom device "/dev/none": no such file'):
        made(a_record(devices=[mapping]))


def test_privileged_has_every_device_and_one_rule():
    linux = made(a_record(privileged=True), host_nodes=[NODE])["linux"]
    assert [each["path"] for each in linux["devices"]] == ["/dev/fuse"]
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]


# Everything else of the Linux part


def test_the_filter_goes_compiled_into_the_annotation_or_as_json_into_the_spec():
    spec = made()
    assert spec["annotations"] == {"run.oci.seccomp_bpf_data": "QlBG"}
    assert "seccomp" not in spec["linux"]
    choice = some_inputs().seccomp
    plain = made(seccomp=type(choice)(choice.profile))
    assert plain["linux"]["seccomp"] == {"defaultAction": "SCMP_ACT_ERRNO"}
    assert "annotations" not in plain
    assert "annotations" not in made(seccomp=None)


def test_annotations_pass_but_not_a_filter_of_the_users():
    record = a_record(annotations={"a": "b", "run.oci.seccomp_bpf_data": "evil"})
    assert made(record)["annotations"] == {"a": "b", "run.oci.seccomp_bpf_data": "QlBG"}
    assert made(record, seccomp=None)["annotations"] == {"a": "b"}


@pytest.mark.parametrize("asked", [{}, {"masked_paths": []}, {"privileged": True}])
def test_inspect_shows_the_guarded_paths_that_a_start_chooses(asked):
    shown = with_guarded_paths(a_record(**asked).host_config, some_facts())
    linux = made(a_record(**asked))["linux"]
    assert (shown.masked_paths or []) == linux.get("maskedPaths", [])
    assert (shown.readonly_paths or []) == linux.get("readonlyPaths", [])
    assert (shown.masked_paths is None) == ("privileged" in asked)


def test_masked_and_read_only_paths_can_be_replaced():
    linux = made(a_record(masked_paths=[], readonly_paths=["/proc/x"]))["linux"]
    assert "maskedPaths" not in linux
    assert linux["readonlyPaths"] == ["/proc/x"]


def test_throttle_counters_are_masked():
    facts = some_facts(thermal_throttle=("/sys/devices/system/cpu/cpu0/thermal_throttle",))
    assert facts.thermal_throttle[0] in made(facts=facts)["linux"]["maskedPaths"]


def test_sysctls_of_an_own_network_allow_low_ports_and_ping():
    assert made(a_record(sysctls={"net.core.somaxconn": "10"}))["linux"]["sysctl"] == {
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": "0 2147483647",
        "net.core.somaxconn": "10",
    }


def test_the_domain_name_is_set_by_sysctl():
    config = ContainerConfig(hostname="web", domainname="example.org")
    assert made(a_record(config=config))["linux"]["sysctl"]["kernel.domainname"] == "example.org"


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ({"sysctls": {"kernel.panic": "1"}}, "is not in a separate kernel namespace"),
        ({"sysctls": {"net.a": "1"}, "network_mode": "host"}, "not allowed in host network"),
        ({"sysctls": {"kernel.shmmax": "1"}, "ipc_mode": "host"}, "hosts ipc namespace"),
        ({"sysctls": {"fs.mqueue.msg_max": "1"}, "ipc_mode": "host"}, "hosts ipc namespace"),
        ({"sysctls": {"kernel.hostname": "1"}, "uts_mode": "host"}, "hosts uts namespace"),
    ],
)
def test_sysctls_of_the_host_are_refused(host, text):
    with pytest.raises(InvalidParameter, match=text):
        made(a_record(**host))


def test_resources_are_written_down():
    record = a_record(
        memory=64 << 20,
        memory_reservation=32 << 20,
        memory_swappiness=10,
        oom_kill_disable=True,
        pids_limit=-1,
        nano_cpus=1_500_000_000,
        cpu_shares=512,
        cpuset_cpus="0-1",
        blkio_weight=300,
        blkio_weight_device=[WeightDevice(path="/dev/sda", weight=100)],
        blkio_device_read_bps=[ThrottleDevice(path="/dev/sda", rate=1000)],
    )
    resources = made(record, block_numbers={"/dev/sda": (8, 0)})["linux"]["resources"]
    assert resources["memory"] == {
        "limit": 64 << 20,
        "reservation": 32 << 20,
        "swap": 128 << 20,
        "swappiness": 10,
        "disableOOMKiller": True,
    }
    assert resources["pids"] == {"limit": -1}
    assert resources["cpu"] == {"shares": 512, "quota": 150000, "period": 100000, "cpus": "0-1"}
    assert resources["blockIO"] == {
        "weight": 300,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 100}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}],
    }


def test_the_control_group_lies_below_its_parent_and_never_outside():
    assert cgroup_path(a_record()) == f"/pinnace/{'c' * 64}"
    assert cgroup_path(a_record(cgroup_parent="/a/b/")) == f"/a/b/{'c' * 64}"
    assert cgroup_path(a_record(cgroup_parent="a")) == f"/a/{'c' * 64}"
    assert ".." not in cgroup_path(a_record(cgroup_parent="/../../x"))


# Execs


def exec_spec(config, container=None, identity=None):
    process = exec_process_spec(
        container or a_record(), config, some_facts(), identity or Identity()
    )
    return json.loads(encode(process))


def test_an_exec_inherits_directory_environment_and_capabilities():
    config = ContainerConfig(hostname="web", working_dir="/srv", env=["A=1", "B=2"])
    process = exec_spec(ExecConfig(cmd=["ls"], env=["B=3"]), a_record(config=config))
    assert process["args"] == ["ls"]
    assert process["cwd"] == "/srv"
    assert process["env"][2:] == ["A=1", "B=3", "HOME=/"]
    assert len(process["capabilities"]["effective"]) == 14
    assert "terminal" not in process


def test_a_privileged_exec_holds_everything():
    process = exec_spec(ExecConfig(cmd=["ls"], privileged=True))
    assert len(process["capabilities"]["effective"]) == 41


def test_an_exec_may_ask_for_a_terminal_and_a_directory():
    config = ExecConfig(cmd=["sh"], tty=True, console_size=[10, 20], working_dir="/tmp")
    process = exec_spec(config)
    assert process["terminal"] is True
    assert process["consoleSize"] == {"height": 10, "width": 20}
    assert process["cwd"] == "/tmp"
    assert "TERM=xterm" in process["env"]
