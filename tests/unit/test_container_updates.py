"""Which settings of a live container may change, and how refusals are worded."""

import pytest
from tests.support.specs import a_record, some_facts

from pinnace.engine.containers.updates import updated_host_config
from pinnace.errors import Conflict, InvalidParameter

MEMORY = 64 << 20


def updated(changes, **host):
    return updated_host_config(a_record(**host), changes, some_facts())[0]


def test_zero_leaves_a_value_as_it_is():
    host = updated({"Memory": 0, "CpuShares": 512}, memory=MEMORY)
    assert (host.memory, host.cpu_shares) == (MEMORY, 512)


def test_an_unknown_restart_policy_is_refused():
    with pytest.raises(InvalidParameter, match="invalid restart policy: unknown policy 'what'"):
        updated({"RestartPolicy": {"Name": "what"}})


def test_a_container_that_removes_itself_gets_no_restart_policy():
    with pytest.raises(Conflict, match=r"Cannot update container c+: Restart policy cannot be"):
        updated({"RestartPolicy": {"Name": "always"}}, auto_remove=True)


@pytest.mark.parametrize(
    ("changes", "host", "message"),
    [
        ({"CpuQuota": 5000}, {"nano_cpus": 10**9}, "CPU Quota cannot be updated as NanoCPUs has"),
        ({"CpuPeriod": 5000}, {"nano_cpus": 10**9}, "CPU Period cannot be updated as NanoCPUs"),
        ({"NanoCpus": 10**9}, {"cpu_quota": 5000}, "Nano CPUs cannot be updated as CPU Quota has"),
        ({"NanoCpus": 10**9}, {"cpu_period": 5000}, "Nano CPUs cannot be updated as CPU Period"),
        ({"Memory": MEMORY * 2}, {"memory_swap": MEMORY}, "Memory limit should be smaller than"),
    ],
)
def test_what_does_not_go_with_the_present_limits_is_refused(changes, host, message):
    with pytest.raises(Conflict, match=message):
        updated(changes, **host)


def test_memory_grows_together_with_swap():
    host = updated({"Memory": MEMORY * 2, "MemorySwap": MEMORY * 4}, memory_swap=MEMORY)
    assert (host.memory, host.memory_swap) == (MEMORY * 2, MEMORY * 4)


def test_a_pids_limit_below_one_lifts_it():
    assert updated({"PidsLimit": -1}, pids_limit=5).pids_limit is None
