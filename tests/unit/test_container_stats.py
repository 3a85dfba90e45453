import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.contracts.cgroups import (
    BlockEntry,
    CgroupPlaces,
    ContainerUsage,
    CpuUsage,
    HostUsage,
    InterfaceUsage,
    MemoryUsage,
    PsOutput,
)
from pinnace.contracts.control import CgroupLayout
from pinnace.engine.containers.stats import StatsService, cgroup_places
from pinnace.engine.containers.top import TopService, check_ps_arguments, parse_ps
from pinnace.errors import Conflict, ContainerNotFound, Internal, InvalidParameter
from pinnace.host.runtime.accounting import (
    KernelAccounting,
    parse_blkio,
    parse_interfaces,
    parse_io_stat,
)
from pinnace.model.container import HostConfig
from pinnace.testing.accounting import FakeAccounting
from pinnace.testing.lookup import FakeContainers, SeenEvents, a_container

V1 = CgroupLayout(1, {"memory": "/cg/memory", "pids": "/cg/pids"})
V2 = CgroupLayout(2, unified="/cg")
SECOND = 1_000_000_000


class Setting:
    def __init__(self, container=None, layout=V1):
        self.container = container or a_container()
        self.containers, self.accounting = FakeContainers(self.container), FakeAccounting()
        self.now = 1_700_000_000 * SECOND
        self.slept = 0
        self.service = StatsService(
            self.containers, self.accounting, layout, now_ns=lambda: self.now, sleep=self.sleep
        )

    async def sleep(self, seconds):
        self.slept += 1
        self.now += int(seconds * SECOND)
        cpu = self.accounting.counters.cpu
        self.accounting.counters = replace(
            self.accounting.counters, cpu=replace(cpu, total_ns=cpu.total_ns + 5)
        )

    async def read(self, count=None, **how):
        found = []
        async for one in self.service.stream("web", **how):
            found.append(json.loads(json.dumps(one)))
            if len(found) == count:
                break
        return found


def test_groups_lie_below_each_hierarchy():
    assert cgroup_places("/p/x", V1).directories == {
        "memory": "/cg/memory/p/x",
        "pids": "/cg/pids/p/x",
    }
    assert cgroup_places("/p/x", V2) == CgroupPlaces(2, {"": "/cg/p/x"})


async def test_one_shot_gives_the_first_reading():
    one = Setting()
    (stats,) = await one.read(stream=False, one_shot=True)
    assert one.slept == 0
    assert stats["preread"] == "0001-01-01T00:00:00Z"
    assert stats["precpu_stats"]["cpu_usage"]["total_usage"] == 0


async def test_without_stream_the_second_reading_is_given():
    one = Setting()
    (stats,) = await one.read(stream=False)
    assert one.slept == 1
    assert stats["preread"] == "2023-11-14T22:13:20Z"
    assert stats["read"] == "2023-11-14T22:13:21Z"
    assert stats["cpu_stats"]["cpu_usage"]["total_usage"] == 5


async def test_a_stream_carries_the_last_processor_time_along():
    first, second, third = await Setting().read(3)
    assert first["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert second["precpu_stats"] == first["cpu_stats"]
    assert third["precpu_stats"]["cpu_usage"]["total_usage"] == 5


async def test_every_counter_has_its_place():
    one = Setting()
    one.accounting.system = HostUsage(cpu_ns=99, online_cpus=4, memory_bytes=1000)
    one.accounting.counters = ContainerUsage(
        cpu=CpuUsage(10, 6, 4, (7, 3), 5, 2, 1),
        memory=MemoryUsage(usage=100, limit=1 << 62, max_usage=120, failcnt=3, stats={"cache": 9}),
        service_bytes=(BlockEntry(8, 0, "Read", 11),),
        serviced=(BlockEntry(8, 0, "Read", 1),),
        pids=3,
        pids_limit=50,
        interfaces={"eth0": InterfaceUsage(1, 2, 3, 4, 5, 6, 7, 8)},
    )
    (stats,) = await one.read(stream=False, one_shot=True)
    assert stats["name"] == "/web"
    assert stats["cpu_stats"] == {
        "cpu_usage": {
            "total_usage": 10,
            "usage_in_usermode": 6,
            "usage_in_kernelmode": 4,
            "percpu_usage": [7, 3],
        },
        "system_cpu_usage": 99,
        "online_cpus": 4,
        "throttling_data": {"periods": 5, "throttled_periods": 2, "throttled_time": 1},
    }
    assert stats["memory_stats"] == {
        "usage": 100,
        "max_usage": 120,
        "failcnt": 3,
        "limit": 1000,  # no more than the host has
        "stats": {"cache": 9},
    }
    entry = {"major": 8, "minor": 0, "op": "read", "value": 11}
    assert stats["blkio_stats"]["io_service_bytes_recursive"] == [entry]
    assert stats["pids_stats"] == {"current": 3, "limit": 50}
    assert stats["networks"]["eth0"]["tx_dropped"] == 8


async def test_version_2_leaves_out_what_it_does_not_count():
    one = Setting(layout=V2)
    one.accounting.counters = ContainerUsage(memory=MemoryUsage(usage=1, limit=2))
    (stats,) = await one.read(stream=False, one_shot=True)
    assert "percpu_usage" not in stats["cpu_stats"]["cpu_usage"]
    assert set(stats["memory_stats"]) == {"usage", "limit", "stats"}
    assert stats["blkio_stats"]["io_serviced_recursive"] is None
    assert stats["pids_stats"]["limit"] == 2**64 - 1


async def test_the_hosts_interfaces_are_not_a_containers():
    one = Setting(a_container(host_config=HostConfig(network_mode="host")))
    (stats,) = await one.read(stream=False, one_shot=True)
    assert "networks" not in stats
    assert one.accounting.asked[0][1] == 0


async def test_a_stopped_container_has_zeros_once():
    one = Setting(a_container(status="exited"))
    (stats,) = await one.read(stream=False)
    assert one.slept == 0
    assert stats["memory_stats"] == {}
    assert stats["cpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert stats["read"] == "0001-01-01T00:00:00Z"


async def test_the_stream_ends_when_the_container_is_removed():
    one = Setting()
    stream = one.service.stream("web")
    await anext(stream)
    one.containers._by_id.clear()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


def test_an_unknown_container_is_refused_at_once():
    with pytest.raises(ContainerNotFound):
        Setting().service.stream("nobody")


def write(directory: Path, **files):
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)


def test_version_1_files_are_read(tmp_path):
    write(tmp_path / "cpu", cpu__stat="nr_periods 5\nnr_throttled 2\nthrottled_time 77\n")
    write(
        tmp_path / "cpuacct",
        cpuacct__usage="1000\n",
        cpuacct__usage_percpu="600 400 \n",
        cpuacct__stat="user 3\nsystem 2\n",
    )
    write(
        tmp_path / "memory",
        memory__usage_in_bytes="4096\n",
        memory__limit_in_bytes="9223372036854771712\n",
        memory__max_usage_in_bytes="8192\n",
        memory__failcnt="1\n",
        memory__stat="cache 10\ntotal_inactive_file 5\n",
    )
    write(tmp_path / "pids", pids__current="3\n", pids__max="max\n")
    write(
        tmp_path / "blkio",
        blkio__throttle__io_service_bytes_recursive="8:0 Read 5\n8:0 Write 6\nTotal 11\n",
    )
    directories = {path.name: str(path) for path in tmp_path.iterdir()}
    usage = KernelAccounting().usage(CgroupPlaces(1, directories), 0)
    assert usage.cpu == CpuUsage(1000, 30_000_000, 20_000_000, (600, 400), 5, 2, 77)
    assert (usage.memory.usage, usage.memory.max_usage, usage.memory.failcnt) == (4096, 8192, 1)
    assert usage.memory.stats == {"cache": 10, "total_inactive_file": 5}
    assert usage.service_bytes == (BlockEntry(8, 0, "Read", 5), BlockEntry(8, 0, "Write", 6))
    assert (usage.pids, usage.pids_limit) == (3, None)


def test_version_2_files_are_read(tmp_path):
    write(
        tmp_path,
        cpu__stat="usage_usec 10\nuser_usec 6\nsystem_usec 4\nnr_periods 3\nthrottled_usec 2\n",
        memory__current="4096\n",
        memory__max="max\n",
        memory__stat="inactive_file 5\n",
        pids__current="2\n",
        pids__max="7\n",
        io__stat="8:0 rbytes=5 wbytes=6 rios=1 wios=2 dbytes=0 dios=0\n",
    )
    usage = KernelAccounting().usage(CgroupPlaces(2, {"": str(tmp_path)}), 0)
    assert usage.cpu == CpuUsage(10_000, 6000, 4000, None, 3, 0, 2000)
    assert usage.memory == MemoryUsage(usage=4096, limit=1 << 63, stats={"inactive_file": 5})
    assert usage.service_bytes == (BlockEntry(8, 0, "read", 5), BlockEntry(8, 0, "write", 6))
    assert (usage.pids, usage.pids_limit) == (2, 7)


def test_a_group_that_is_gone_counts_nothing(tmp_path):
    places = CgroupPlaces(1, {"memory": str(tmp_path / "no"), "pids": str(tmp_path / "no")})
    usage = KernelAccounting().usage(places, 2**30)
    assert (usage.memory.usage, usage.pids, usage.interfaces) == (0, 0, {})
    assert KernelAccounting().pids(places) == []


def test_processes_of_groups_below_count_too(tmp_path):
    write(tmp_path / "top", cgroup__procs="30\n4\n")
    write(tmp_path / "top/below", cgroup__procs="5\n")
    assert KernelAccounting().pids(CgroupPlaces(2, {"": str(tmp_path / "top")})) == [4, 5, 30]


def test_the_hosts_counters_are_read():
    host = KernelAccounting().host()
    assert host.cpu_ns > SECOND
    assert host.online_cpus >= 1
    assert host.memory_bytes > 1 << 26


async def test_the_hosts_ps_is_run():
    printed = await KernelAccounting().ps(["-o", "pid", "-p", "1"])
    assert (printed.returncode, printed.stdout.split()) == (0, ["PID", "1"])
    assert (await KernelAccounting().ps(["--no-such-option"])).returncode != 0


def test_interfaces_are_read_without_the_loopback():
    text = (
        "Inter-|   Receive | Transmit\n face |bytes\n"
        "    lo: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n"
        "  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n"
    )
    assert parse_interfaces(text) == {"eth0": InterfaceUsage(1, 2, 3, 4, 5, 6, 7, 8)}


@given(st.text())
def test_odd_block_counters_do_no_harm(text):
    parse_blkio(text)
    parse_io_stat(text)


TABLE = """UID          PID    PPID CMD
root           1       0 /sbin/init splash
root        1001       1 sleep 100
nobody      1002    1001 sh -c  a  b
"""


def test_only_the_containers_rows_are_kept():
    result = parse_ps(TABLE, {1001, 1002})
    assert result.titles == ["UID", "PID", "PPID", "CMD"]
    assert result.processes == [
        ["root", "1001", "1", "sleep 100"],
        ["nobody", "1002", "1001", "sh -c a b"],
    ]


def test_threads_follow_their_process():
    table = "PID CMD\n5 a\n- t\n6 b\n- u\n"
    assert parse_ps(table, {6}).processes == [["6", "b"], ["-", "u"]]


def test_a_table_without_pids_is_an_error():
    with pytest.raises(Internal, match="Couldn't find PID field in ps output"):
        parse_ps("CMD\nsleep\n", {1})
    with pytest.raises(Internal, match="Unexpected pid 'x'"):
        parse_ps("PID\nx\n", {1})


@pytest.mark.parametrize("arguments", ["-o user=PID", "ax -o pid,user=PID", "-o comm= PIDS"])
def test_another_column_cannot_pose_as_the_pid(arguments):
    with pytest.raises(InvalidParameter, match="is not allowed"):
        check_ps_arguments(arguments)


@pytest.mark.parametrize("arguments", ["-ef", "aux", "-o pid=PID,user", "-o pid,cmd"])
def test_usual_arguments_are_fine(arguments):
    check_ps_arguments(arguments)


class TopSetting:
    def __init__(self, container=None):
        self.accounting, self.events = FakeAccounting(), SeenEvents()
        self.accounting.processes = [1001]
        self.accounting.printed = PsOutput(0, TABLE, "")
        containers = FakeContainers(container or a_container())
        self.service = TopService(containers, self.accounting, V1, self.events)


async def test_top_asks_for_everything_by_default():
    one = TopSetting()
    result = await one.service.top("web")
    assert json.loads(msgspec.json.encode(result)) == {
        "Titles": ["UID", "PID", "PPID", "CMD"],
        "Processes": [["root", "1001", "1", "sleep 100"]],
    }
    assert one.accounting.asked[-1] == ["-ef"]
    assert one.events.actions == ["top"]


async def test_what_ps_says_is_told():
    one = TopSetting()
    one.accounting.printed = PsOutput(1, "", "error: unsupported option\n")
    with pytest.raises(Internal, match="ps: error: unsupported option"):
        await one.service.top("web", "-Q")


async def test_top_needs_a_running_container():
    with pytest.raises(Conflict, match="is not running"):
        await TopSetting(a_container(status="exited")).service.top("web")
    with pytest.raises(Conflict, match="is restarting"):
        await TopSetting(a_container(status="restarting")).service.top("web")
