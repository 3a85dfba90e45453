import json

import pytest

from pinnace.daemon.config import DEFAULT_HOSTS, load
from pinnace.daemon.main import main
from pinnace.errors import InvalidParameter


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "daemon.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return ["--config-file", str(path)]

    return write


def test_defaults_listen_on_the_socket_and_on_loopback(file):
    config, validate = load(file({}))
    assert config.hosts == list(DEFAULT_HOSTS)
    assert (config.bridge, config.table, validate) == ("pinnace0", "pinnace", False)


def test_flags_are_spelled_as_dockerds(file):
    config, _ = load(
        [*file({}), "-H", "unix:///a", "-H", "tcp://127.0.0.1:1", "--data-root", "/d", "-D",
         "--exec-root", "/e", "-p", "/x.pid", "-b", "br9", "--bip", "10.9.0.1/24",
         "--default-ulimit", "nofile=10:20", "--log-opt", "max-size=1m", "--no-icc",
         "--add-runtime", "runc=/usr/bin/runc", "--default-runtime", "runc", "--group", "g"]
    )  # fmt: skip
    assert config.hosts == ["unix:///a", "tcp://127.0.0.1:1"]
    assert (config.debug, config.icc, config.table) == (True, False, "pinnace-br9")
    assert config.default_ulimits["nofile"].hard == 20
    assert config.runtimes["runc"].path == "/usr/bin/runc"
    assert config.log_opts == {"max-size": "1m"}


def test_the_file_has_the_same_keys(file):
    config, _ = load(
        file(
            {
                "hosts": ["unix:///a"],
                "data-root": "/d",
                "log-opts": {"max-file": "2"},
                "runtimes": {"runc": {"path": "/r", "runtimeArgs": ["--debug"]}},
                "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 2, "Soft": 1}},
            }
        )
    )
    assert config.data_root == "/d"
    assert config.runtimes["runc"].runtime_args == ["--debug"]
    assert config.default_ulimits["nofile"].soft == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "cannot read the configuration file"),
        ({"nope": 1}, "unknown field `nope`"),
        ({"hosts": "x"}, "Expected `array`"),
        ({"hosts": ["http://x"]}, "invalid address to listen on"),
        ({"data-root": "d"}, "data-root must be an absolute path"),
        ({"bip": "10.0.0.0/24"}, "is the network's own address"),
        ({"bip": "x"}, "invalid bip"),
        ({"bridge": "x" * 16}, "invalid bridge name"),
        ({"default-runtime": "kata"}, "specified default runtime 'kata' does not exist"),
        ({"log-driver": "syslog"}, "no log driver named 'syslog'"),
        ({"tls": True}, "TLS needs tlscert and tlskey"),
        ({"tlsverify": True, "tlscert": "c", "tlskey": "k"}, "tlsverify needs tlscacert"),
    ],
)
def test_what_cannot_be_meant_is_refused(file, content, text):
    with pytest.raises(InvalidParameter, match=text):
        load(file(content))


def test_a_setting_in_both_places_is_refused(file):
    with pytest.raises(
        InvalidParameter, match="both as a flag and in the configuration file: mtu"
    ):
        load([*file({"mtu": 1400}), "--mtu", "1300"])


def test_a_named_file_must_exist(tmp_path):
    with pytest.raises(InvalidParameter, match="does not exist"):
        load(["--config-file", str(tmp_path / "none.json")])


def test_validate_says_what_it_found(file, capsys):
    assert main([*file({}), "--validate"]) == 0
    assert main([*file({"nope": 1}), "--validate"]) == 1
    output = capsys.readouterr()
    assert "configuration OK" in output.out
    assert "nope" in output.err
