import pytest

from pinnace.engine.containers import create
from pinnace.errors import InvalidParameter, NotFound, NotSupported
from pinnace.model.container import (
    ContainerConfig,
    DeviceRequest,
    HealthConfig,
    HostConfig,
    LogConfig,
    RestartPolicy,
)
from pinnace.model.create import CreateParams

IMAGE = ContainerConfig(
    env=["PATH=/bin", "A=image"],
    cmd=["sh"],
    entrypoint=None,
    user="app",
    working_dir="/srv",
    exposed_ports={"80/tcp": {}},
    labels={"a": "1", "b": "1"},
    volumes={"/data": {}},
    stop_signal="SIGINT",
    healthcheck=HealthConfig(test=["CMD", "true"], interval=5, retries=2),
)


def merged(**fields):
    return create.merge_config(ContainerConfig(**fields), IMAGE)


def test_the_image_fills_in_what_the_request_leaves_open():
    config = merged()
    assert (config.cmd, config.user, config.working_dir) == (["sh"], "app", "/srv")
    assert config.stop_signal == "SIGINT"
    assert config.exposed_ports == {"80/tcp": {}}


def test_env_is_merged_by_variable_and_the_request_wins():
    assert merged(env=["A=mine", "B=2"]).env == ["A=mine", "B=2", "PATH=/bin"]


def test_labels_ports_and_volumes_are_merged_by_key():
    config = merged(labels={"b": "2"}, exposed_ports={"443/tcp": {}}, volumes={"/x": {}})
    assert config.labels == {"a": "1", "b": "2"}
    assert set(config.exposed_ports) == {"80/tcp", "443/tcp"}
    assert set(config.volumes) == {"/data", "/x"}


def test_an_entrypoint_of_the_request_drops_the_images_command():
    config = merged(entrypoint=["/bin/echo"])
    assert (config.entrypoint, config.cmd) == (["/bin/echo"], None)


def test_an_empty_word_clears_the_images_entrypoint():
    image = ContainerConfig(entrypoint=["/init"], cmd=["sh"])
    config = create.merge_config(ContainerConfig(entrypoint=[""], cmd=["ls"]), image)
    assert create.command(config) == ("ls", [])


def test_health_is_merged_field_by_field():
    health = merged(healthcheck=HealthConfig(retries=9)).healthcheck
    assert (health.test, health.interval, health.retries) == (["CMD", "true"], 5, 9)


def test_no_command_at_all_is_refused():
    with pytest.raises(InvalidParameter, match="no command specified"):
        create.command(ContainerConfig())


@pytest.mark.parametrize("name", ["w", "-web", "a b", "a/b", "", "ä-b"])
def test_bad_names_are_refused(name):
    with pytest.raises(InvalidParameter, match="Invalid container name"):
        create.check_name(name)


def test_a_leading_slash_is_not_part_of_the_name():
    assert create.check_name("/web.1_x-y") == "web.1_x-y"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"hostname": "-x"}, "invalid hostname format: -x"),
        ({"env": ["=x"]}, "invalid environment variable: =x"),
        ({"working_dir": "srv"}, "the working directory 'srv' is invalid"),
        ({"healthcheck": HealthConfig(interval=5)}, "Interval in Healthcheck cannot be less"),
        ({"healthcheck": HealthConfig(retries=-1)}, "Retries in Healthcheck cannot be negative"),
        ({"healthcheck": HealthConfig(test=["X"])}, "unknown type 'X'"),
    ],
)
def test_configs_that_cannot_be_meant_are_refused(fields, text):
    with pytest.raises(InvalidParameter, match=text):
        create.check_config(ContainerConfig(**fields), lenient_hostname=False)


def test_old_clients_may_use_any_host_name():
    create.check_config(ContainerConfig(hostname="my_host"), lenient_hostname=True)


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"restart_policy": RestartPolicy(name="x")}, InvalidParameter, "unknown policy 'x'"),
        (
            {"restart_policy": RestartPolicy(name="always", maximum_retry_count=1)},
            InvalidParameter,
            "maximum retry count can only be used with 'on-failure'",
        ),
        (
            {"auto_remove": True, "restart_policy": RestartPolicy(name="always")},
            InvalidParameter,
            "can't create 'AutoRemove' container with restart policy",
        ),
        ({"log_config": LogConfig(type="syslog")}, InvalidParameter, "no log driver named"),
        (
            {"log_config": LogConfig(type="local", config={"x": "1"})},
            InvalidParameter,
            "unknown log opt 'x'",
        ),
        ({"isolation": "hyperv"}, InvalidParameter, "invalid isolation 'hyperv'"),
        ({"runtime": "kata"}, InvalidParameter, "unknown or invalid runtime name: kata"),
        ({"volume_driver": "nfs"}, NotFound, 'plugin "nfs" not found'),
        ({"storage_opt": {"size": "1g"}}, InvalidParameter, "--storage-opt is supported only"),
        ({"links": ["a:b"]}, NotSupported, "links between containers"),
        (
            {"device_requests": [DeviceRequest(capabilities=[["gpu"]])]},
            InvalidParameter,
            "could not select device driver",
        ),
        ({"cgroup": "x"}, NotSupported, "HostConfig.Cgroup"),
    ],
)
def test_host_configs_that_cannot_be_had_are_refused(fields, kind, text):
    with pytest.raises(kind, match=text):
        create.check_host_config(HostConfig(**fields), runtimes={"crun": None})


@pytest.mark.parametrize(
    ("config", "host", "text"),
    [
        ({"hostname": "x"}, {"network_mode": "container:a"}, "hostname and the network mode"),
        ({}, {"network_mode": "container:a", "dns": ["1.1.1.1"]}, "dns and the network mode"),
        ({}, {"network_mode": "container:a", "publish_all_ports": True}, "port publishing"),
        ({"exposed_ports": {"1/tcp": {}}}, {"network_mode": "container:a"}, "port exposing"),
        ({"hostname": "x"}, {"uts_mode": "host"}, "hostname and the UTS mode"),
    ],
)
def test_options_that_do_not_fit_the_network_mode_are_refused(config, host, text):
    with pytest.raises(InvalidParameter, match=f"conflicting options: {text}"):
        create.check_network(ContainerConfig(**config), HostConfig(**host))


def completed(**fields):
    host = HostConfig(**fields)
    return create.complete_host_config(
        CreateParams(ContainerConfig(), host),
        host,
        default_log=LogConfig(type="local", config={"max-size": "1m"}),
        default_runtime="crun",
        cgroupns="private",
    )


def test_defaults_that_inspect_shows_are_filled_in():
    host = completed()
    assert (host.network_mode, host.ipc_mode, host.runtime) == ("bridge", "private", "crun")
    assert host.shm_size == 64 << 20
    assert host.restart_policy.name == "no"
    assert host.log_config == LogConfig(type="local", config={"max-size": "1m"})


def test_memory_without_swap_allows_as_much_swap():
    assert completed(memory=10 << 20).memory_swap == 20 << 20


def test_log_options_of_the_daemon_hold_for_its_own_driver_only():
    mine = LogConfig(type="local", config={"max-file": "2"})
    assert completed(log_config=mine).log_config.config == {"max-size": "1m", "max-file": "2"}
    assert completed(log_config=LogConfig(type="none")).log_config.config == {}


def test_log_options_hold_without_a_driver_of_their_own():
    asked = completed(log_config=LogConfig(config={"max-file": "2"})).log_config
    assert asked == LogConfig(type="local", config={"max-size": "1m", "max-file": "2"})


def test_an_unknown_stop_signal_is_refused_at_create():
    config = ContainerConfig(cmd=["true"], stop_signal="WHAT")
    with pytest.raises(InvalidParameter, match="invalid signal: WHAT"):
        create.check_config(config, lenient_hostname=False)


@pytest.mark.parametrize(
    ("text", "size"),
    [("10m", 10 << 20), ("1.5k", 1536), ("7", 7), ("2gb", 2 << 30), ("1MiB", 1 << 20)],
)
def test_sizes_are_read_with_their_units(text, size):
    assert create.parse_size(text) == size


def test_a_bad_size_is_named():
    with pytest.raises(InvalidParameter, match="invalid size: 'x'"):
        create.parse_size("x")
