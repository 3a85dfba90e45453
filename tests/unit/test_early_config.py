"""What a request and an image made together up to API 1.2."""

from msgspec.structs import replace
from tests.support.api import an_image

from pinnace.api.early_config import early_warnings, image_config
from pinnace.model.early import EarlyConfig, merged
from pinnace.model.image import ImageConfig, ImageOrigin


def an_image_with(written, **config):
    return replace(an_image(), origin=ImageOrigin(config=written), config=ImageConfig(**config))


def test_lists_of_the_image_count_as_a_whole_or_not_at_all():
    image = EarlyConfig(env=["A=1", "B=2"], cmd=["sh"], dns=["9.9.9.9"], port_specs=["80"])
    assert merged(EarlyConfig(), image) == image
    own = EarlyConfig(env=["B=3"], cmd=["env"], dns=["8.8.8.8"], port_specs=["81"])
    assert merged(own, image) == own
    assert merged(EarlyConfig(env=[], cmd=[]), image).cmd == ["sh"]


def test_an_image_switches_on_and_never_off():
    image = EarlyConfig(tty=True, open_stdin=True, user="7", memory=5, hostname="ada")
    found = merged(EarlyConfig(stdin_once=True, user="8"), image)
    assert (found.tty, found.open_stdin, found.stdin_once) == (True, True, True)
    assert (found.user, found.memory, found.hostname) == ("8", 5, "ada")


def test_volumes_and_what_attaches_are_the_request_s_alone():
    image = EarlyConfig(volumes={"/data": {}}, volumes_from="x", attach_stdin=True, image="base")
    assert merged(EarlyConfig(), image) == EarlyConfig()


def test_a_variable_without_a_value_is_empty():
    assert merged(EarlyConfig(env=["A", "B=1"]), EarlyConfig()).env == ["A=", "B=1"]


def test_ports_that_an_image_exposes_are_published():
    exposed = {"80/tcp": {}, "443": {}, "53/udp": {}, "9/tcp": {}}
    assert image_config(an_image_with({}, exposed_ports=exposed)).port_specs == ["9", "80", "443"]
    written = an_image_with({"PortSpecs": ["8080:80"]}, exposed_ports={"80/tcp": {}})
    assert image_config(written).port_specs == ["8080:80"]


def test_a_config_that_is_none_of_the_time_says_nothing():
    assert image_config(an_image_with({"Memory": "much", "Env": ["A=1"]})) == EarlyConfig()
    assert image_config(an_image_with(None)) == EarlyConfig()


def test_two_warnings_were_known():
    said = [
        "Your kernel does not support memory limit capabilities or the cgroup is not mounted. x",
        "Your kernel does not support swap limit capabilities or the cgroup is not mounted. y",
        "Your kernel does not support cpuset or the cgroup is not mounted. CPUset discarded.",
    ]
    assert early_warnings(said) == [
        "Your kernel does not support memory limit capabilities. Limitation discarded.",
        "Your kernel does not support memory swap capabilities. Limitation discarded.",
    ]
