"""Images, volumes, networks and the engine itself."""

from tests.support.api import IMAGE

from pinnace.engine.builds.upkeep import Pruned
from pinnace.model.container import ContainerConfig


async def test_disk_usage_of_today_has_objects_and_lists(client):
    usage = (await client.get("/system/df")).json()
    assert usage["ImageUsage"] == {"TotalCount": 1, "TotalSize": 5}
    assert usage["Images"][0]["Id"] == IMAGE
    assert usage["LayersSize"] == 5
    assert usage["Volumes"] == []


async def test_verbose_disk_usage_has_items_instead_of_lists(client):
    usage = (await client.get("/system/df?verbose=1")).json()
    assert usage["ImageUsage"]["Items"][0]["Id"] == IMAGE
    assert "Images" not in usage


async def test_disk_usage_of_older_clients_has_lists_only(client):
    usage = (await client.get("/v1.51/system/df?verbose=1")).json()
    assert set(usage) == {"Images", "LayersSize", "Volumes"}
    (image,) = (await client.get("/v1.43/system/df")).json()["Images"]
    assert image["VirtualSize"] == 5


async def test_an_unknown_type_of_disk_usage_is_400(client, engine):
    assert (await client.get("/system/df?type=moon")).status == 400
    assert (await client.get("/v1.41/system/df?type=moon")).status == 200
    await client.get("/system/df?type=image&type=volume")
    assert engine.last("system.df").args == ({"image", "volume"},)


async def test_info_is_passed_on(client):
    assert (await client.get("/info")).json()["Containers"] == 3


async def test_images_are_listed_inspected_and_told_their_history(client, engine):
    assert (await client.get("/images/json?all=1&shared-size=1")).json()[0]["Containers"] == 2
    assert engine.last("images.list").kwargs == {
        "all": True,
        "shared_size": True,
        "manifests": False,
    }
    assert (await client.get("/images/acme/web:latest/json")).json()["Id"] == IMAGE
    assert (await client.get("/images/acme/web/history")).json()[0]["Id"] == IMAGE
    assert (await client.get("/images/nosuch/json")).message == "No such image: nosuch"


async def test_an_image_is_tagged_and_deleted(client, engine):
    reply = await client.post("/images/acme/web/tag?repo=host:5000/web&tag=2")
    assert (reply.status, reply.body) == (201, b"")
    assert engine.last("images.tag").args == ("acme/web", "host:5000/web", "2")
    reply = await client.ask("DELETE", "/images/acme/web?force=1&noprune=0")
    assert reply.json() == [{"Untagged": "acme/web:latest"}, {"Deleted": IMAGE}]
    assert engine.last("images.delete").kwargs == {"force": True, "noprune": False}


async def test_c43_a_bad_boolean_comes_before_the_image(client):
    reply = await client.post("/v1.2/images/nosuch/tag?repo=r&force=maybe")
    assert (reply.status, reply.body) == (400, b"Bad parameter\n")


async def test_commit_passes_its_parameters(client, engine):
    target = (
        "commit?container=web&repo=acme/new&tag=1&comment=c&author=Ada&changes=CMD+a%0AENV+b=1"
    )
    reply = await client.post(f"/{target}", {"Cmd": ["sh"]})
    assert (reply.status, reply.json()) == (201, {"Id": IMAGE})
    (params,) = engine.last("containers.commit").args
    assert (params.container, params.repo, params.tag) == ("web", "acme/new", "1")
    assert (params.comment, params.author, params.pause) == ("c", "Ada", True)
    assert params.changes == ["CMD a", "ENV b=1"]
    assert params.config.cmd == ["sh"]
    reply = await client.ask("POST", f"/v1.2/{target}", b"null")
    assert reply.json() == {"Id": IMAGE[7:19]}
    (params,) = engine.last("containers.commit").args
    assert (params.pause, params.config, params.inherit) == (False, ContainerConfig(), False)


async def test_volumes_are_made_found_and_removed(client, engine):
    reply = await client.post("/volumes/create", {"name": "data", "driverOpts": None})
    assert (reply.status, reply.json()["Name"]) == (201, "data")
    assert engine.last("volumes.create").args[0].name == "data"
    assert (await client.post("/volumes/create")).status == 201
    assert (await client.get("/volumes")).json() == {"Volumes": [], "Warnings": None}
    assert (await client.get("/volumes/data")).json()["Mountpoint"] == "/srv"
    assert (await client.ask("DELETE", "/volumes/data?force=1")).status == 204
    assert engine.last("volumes.remove").kwargs == {"force": True}


async def test_pruned_volumes_of_older_clients_are_all_unused_ones(client, engine):
    await client.post("/v1.41/volumes/prune")
    assert engine.last("volumes.prune").args[0].get("all") == ["true"]
    await client.post("/v1.42/volumes/prune")
    assert engine.last("volumes.prune").args[0].get("all") == []


async def test_networks_are_listed_with_containers_for_clients_up_to_1_27(client):
    assert "Containers" not in (await client.get("/networks")).json()[0]
    assert "Containers" in (await client.get("/v1.27/networks")).json()[0]
    assert "Status" in (await client.get("/networks/bridge")).json()
    assert "Status" not in (await client.get("/v1.51/networks/bridge")).json()


async def test_a_network_without_a_name_is_400(client):
    assert (await client.post("/networks/create", {"Name": " "})).status == 400


async def test_the_build_cache_is_pruned_down_to_a_size(client, engine):
    reply = await client.post("/build/prune?all=1&keep-storage=5")
    assert reply.json() == {"CachesDeleted": ["abc"], "SpaceReclaimed": 7}
    assert engine.last("builds.prune").kwargs == {"everything": True, "keep_bytes": 5}
    engine.answers["builds.prune"] = Pruned([], 0)
    reply = await client.post("/build/prune")
    assert reply.json() == {"CachesDeleted": None, "SpaceReclaimed": 0}


async def test_logins_and_searches_are_the_registries(client, engine):
    login = {"username": "ada", "password": "p", "serveraddress": "r.example"}
    reply = await client.post("/auth", login)
    assert reply.json() == {"IdentityToken": "", "Status": "Login Succeeded"}
    assert engine.last("registries.login").args[0] == "r.example"
    found = await client.get("/images/search?term=web&limit=3")
    assert [one["name"] for one in found.json()] == ["acme/web"]
    assert engine.last("registries.search").kwargs["limit"] == 3


async def test_there_are_no_plugins(client):
    assert (await client.get("/plugins")).json() == []
