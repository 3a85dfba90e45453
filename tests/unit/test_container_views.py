import pytest
from msgspec.structs import replace
from tests.support.specs import a_record

from pinnace.engine.containers.listing import ListParams, select
from pinnace.engine.containers.views import (
    human_duration,
    port_summaries,
    rfc3339,
    status_text,
    summary_view,
)
from pinnace.engine.filters import Filters
from pinnace.errors import InvalidParameter
from pinnace.model.container import ContainerConfig, Health, MountRecord, RunState
from pinnace.model.endpoint import EndpointSettings, PortBinding

S = 1_000_000_000
NOW = 1_000_000 * S


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"),
        (119, "About a minute"), (120, "2 minutes"), (45 * 60, "45 minutes"),
        (3600, "About an hour"), (2 * 3600, "2 hours"), (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"), (13 * 86400, "13 days"), (14 * 86400, "2 weeks"),
        (59 * 86400, "8 weeks"), (60 * 86400, "2 months"), (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
    ],
)  # fmt: skip
def test_durations_read_as_dockers(seconds, text):
    assert human_duration(seconds * S) == text


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (RunState(), "Created"),
        (RunState(status="running", started_ns=NOW - 5 * S), "Up 5 seconds"),
        (RunState(status="paused", started_ns=NOW - 5 * S), "Up 5 seconds (Paused)"),
        (
            RunState(status="running", started_ns=NOW - S, health=Health()),
            "Up 1 second (health: starting)",
        ),
        (
            RunState(status="running", started_ns=NOW - S, health=Health(status="healthy")),
            "Up 1 second (healthy)",
        ),
        (
            RunState(status="exited", exit_code=3, finished_ns=NOW - 60 * S),
            "Exited (3) About a minute ago",
        ),
        (
            RunState(status="restarting", exit_code=1, finished_ns=NOW - 2 * S),
            "Restarting (1) 2 seconds ago",
        ),
        (RunState(status="dead"), "Dead"),
        (RunState(status="removing"), "Removal In Progress"),
    ],
)
def test_the_status_text_tells_the_state(state, text):
    assert status_text(state, NOW) == text


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "0001-01-01T00:00:00Z"),
        (1_371_201_164 * S, "2013-06-14T09:12:44Z"),
        (1_371_201_164 * S + 318_907_000, "2013-06-14T09:12:44.318907Z"),
        (1_371_201_164 * S + 1, "2013-06-14T09:12:44.000000001Z"),
    ],
)
def test_times_are_written_as_go_writes_them(time_ns, text):
    assert rfc3339(time_ns) == text


def a_container(name="web", created=1, status="running", **fields):
    base = a_record()
    return replace(
        base, id=name.encode().hex().ljust(64, "0"), name=name, created_ns=created * S,
        state=replace(RunState(), status=status), **fields,
    )  # fmt: skip


def test_ports_are_listed_only_while_the_container_runs():
    ports = {"80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080")], "443/tcp": None}
    running = port_summaries(a_container(ports=ports))
    assert [(p.private_port, p.public_port, p.type) for p in running] == [
        (443, 0, "tcp"),
        (80, 8080, "tcp"),
    ]
    assert port_summaries(a_container(ports=ports, status="exited")) == []


def test_a_command_with_spaces_is_quoted_in_the_list():
    container = replace(a_container(), path="sh", args=["-c", "echo hi"])
    assert summary_view(container, NOW, None).command == "sh -c 'echo hi'"


def chosen(containers, all_=False, limit=0, **filters):
    found = select(
        containers,
        ListParams(
            Filters({k.replace("_", "-"): v for k, v in filters.items()}), all=all_, limit=limit
        ),
        lookup=lambda ref: next(c for c in containers if c.name == ref),
        ancestors=lambda ref: frozenset({ref}),
    )
    return [container.name for container in found]


WEB = a_container(
    "web", 3, networks={"bridge": EndpointSettings(network_id="n" * 64)},
    ports={"80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080")]},
    mounts=[MountRecord(type="volume", name="data", source="/v", destination="/d")],
    config=ContainerConfig(labels={"tier": "front"}, exposed_ports={"80/tcp": {}}),
)  # fmt: skip
DB = a_container("db", 2)
OLD = replace(a_container("old", 1, "exited"), state=RunState(status="exited", exit_code=7))
ALL = [WEB, DB, OLD]


def test_the_newest_running_containers_come_first():
    assert chosen(ALL) == ["web", "db"]
    assert chosen(ALL, all_=True) == ["web", "db", "old"]


def test_a_limit_counts_stopped_containers_too():
    assert chosen(ALL, limit=3) == ["web", "db", "old"]
    assert chosen(ALL, limit=1) == ["web"]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"name": ["we"]}, ["web"]),
        ({"name": ["^/db$"]}, ["db"]),
        ({"name": ["("]}, []),
        ({"id": [WEB.id[:6]]}, ["web"]),
        ({"status": ["exited"]}, ["old"]),
        ({"exited": ["7"]}, ["old"]),
        ({"exited": ["0"]}, []),
        ({"label": ["tier"]}, ["web"]),
        ({"label": ["tier=back"]}, []),
        ({"before": ["web"]}, ["db", "old"]),
        ({"since": ["db"]}, ["web"]),
        ({"ancestor": ["sha256:1"]}, ["web", "db"]),
        ({"network": ["bridge"]}, ["web"]),
        ({"network": ["nnn"]}, ["web"]),
        ({"volume": ["data"]}, ["web"]),
        ({"volume": ["/d"]}, ["web"]),
        ({"publish": ["8080"]}, ["web"]),
        ({"publish": ["8000-9000/tcp"]}, ["web"]),
        ({"publish": ["8080/udp"]}, []),
        ({"expose": ["80"]}, ["web"]),
        ({"health": ["none"]}, ["web", "db"]),
        ({"is_task": ["false"]}, ["web", "db"]),
        ({"is_task": ["true"]}, []),
    ],
)
def test_filters_select(filters, names):
    assert chosen(ALL, **filters) == names


@pytest.mark.parametrize(
    "filters",
    [{"nope": ["x"]}, {"status": ["up"]}, {"exited": ["x"]}, {"health": ["x"]}, {"publish": ["x"]},
     {"is_task": ["maybe"]}],
)  # fmt: skip
def test_bad_filters_are_refused(filters):
    with pytest.raises(InvalidParameter, match="invalid filter"):
        chosen(ALL, **filters)
