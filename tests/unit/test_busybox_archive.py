"""The embedded image: what is in it, and that its bytes do not vary."""

import hashlib
import io
import json
import tarfile

import pytest
from tests.support.images import BUSYBOX, busybox_archive

from pinnace.client.busybox import UnusableBusybox, build_busybox_archive


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}


def layer() -> tarfile.TarFile:
    files = members(busybox_archive())
    (manifest,) = json.loads(files["manifest.json"])
    return tarfile.open(fileobj=io.BytesIO(files[manifest["Layers"][0]]))


def test_the_same_busybox_gives_the_same_bytes():
    assert build_busybox_archive(BUSYBOX) == build_busybox_archive(BUSYBOX)


def test_manifest_config_and_layer_agree_by_digest():
    files = members(busybox_archive())
    (manifest,) = json.loads(files["manifest.json"])
    assert manifest["RepoTags"] == ["busybox:latest"]
    config_bytes = files[manifest["Config"]]
    assert manifest["Config"] == hashlib.sha256(config_bytes).hexdigest() + ".json"
    config = json.loads(config_bytes)
    digests = ["sha256:" + hashlib.sha256(files[name]).hexdigest() for name in manifest["Layers"]]
    assert config["rootfs"] == {"type": "layers", "diff_ids": digests}
    assert len(config["history"]) == len(digests)
    assert config["config"]["Cmd"] == ["sh"]
    assert config["os"] == "linux"


@pytest.mark.parametrize("applet", ["sh", "true", "ls", "wget", "nc", "httpd", "sleep", "tar"])
def test_applets_are_links_to_the_one_program(applet):
    member = layer().getmember(f"bin/{applet}")
    assert member.islnk()
    assert member.linkname == "bin/busybox"


def test_temporary_directories_are_sticky_and_open_to_all():
    assert layer().getmember("tmp").mode == 0o1777
    assert layer().getmember("var/tmp").mode == 0o1777


def test_passwords_are_locked_and_hidden():
    shadow = layer().getmember("etc/shadow")
    assert shadow.mode == 0o600
    text = layer().extractfile("etc/shadow").read().decode()
    assert all(line.split(":")[1] == "*" for line in text.splitlines())


def test_parents_come_before_what_is_in_them():
    seen = {""}
    for member in layer():
        assert member.name.rpartition("/")[0] in seen, member.name
        seen.add(member.name)


def test_a_script_is_refused_as_busybox(tmp_path):
    script = tmp_path / "busybox"
    script.write_text("#!/bin/sh\necho sh\n")
    script.chmod(0o755)
    with pytest.raises(UnusableBusybox, match="not an ELF program"):
        build_busybox_archive(script)


def test_a_dynamically_linked_program_is_refused(tmp_path):
    from pinnace.client.busybox import architecture

    header = bytearray(64 + 56)
    header[:6] = b"\x7fELF\x02\x01"
    header[18:20] = (62).to_bytes(2, "little")
    header[32:40] = (64).to_bytes(8, "little")
    header[54:58] = (56).to_bytes(2, "little") + (1).to_bytes(2, "little")
    header[64:68] = (3).to_bytes(4, "little")
    with pytest.raises(UnusableBusybox, match="dynamically linked"):
        architecture(bytes(header))
    header[64:68] = (1).to_bytes(4, "little")
    assert architecture(bytes(header)) == "amd64"
