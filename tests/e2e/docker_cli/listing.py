"""What is there: ps, inspect, events, system."""

from tests.support.parity import Scenario

SLEEPER = "docker run -d --name web busybox sleep 600 >/dev/null\n"
FEW = """
docker run -d --name up -l app=web -l tier=front -v data:/d busybox sleep 600 >/dev/null
docker create --name new -l app=db --expose 90 busybox >/dev/null
docker run --name done -l app=web --network none busybox true
docker run --name failed busybox sh -c 'exit 3'
docker run -d --name held busybox sleep 600 >/dev/null; docker pause held >/dev/null
"""


FILTERS = """
status=running status=exited status=created status=paused status=dead status=nonsense
status=running,status=paused name=e name=^up$ name=/up name=up,status=exited id=zz
label=app label=app=web label=app=web,label=tier=front exited=3 exited=0
ancestor=busybox ancestor=nosuch network=none network=bridge network=nosuch volume=data volume=/d
before=done since=done health=none health=healthy is-task=true is-task=x publish=80
isolation=default nonsense=1
"""
PS_FILTERS = f"""
for filters in {" ".join(FILTERS.split())}; do
    echo "$filters"
    docker ps -a --format '{{{{.Names}}}}' --filter $(echo $filters | sed 's/,/ --filter /') | sort
done
"""


HOST_FIELDS = """
AutoRemove Binds BlkioDeviceReadBps BlkioWeight CapAdd CapDrop CgroupParent ConsoleSize
ContainerIDFile CpuCount CpuPercent CpuPeriod CpuQuota CpuShares CpusetCpus Devices Dns
DnsOptions DnsSearch ExtraHosts GroupAdd IOMaximumBandwidth IpcMode Isolation Links
LogConfig.Config Memory MemoryReservation MemorySwap MemorySwappiness NanoCpus OomKillDisable
OomScoreAdj PidMode PidsLimit PortBindings Privileged PublishAllPorts ReadonlyPaths
ReadonlyRootfs RestartPolicy ShmSize UTSMode Ulimits UsernsMode VolumeDriver VolumesFrom
""".split()
HOST = "\n".join(
    f"echo {name}; docker inspect -f '{{{{json .HostConfig.{name}}}}}' web" for name in HOST_FIELDS
)
RICH = """
docker create --name web -m 64m --cpus 1.5 --cap-add SYS_TIME --cap-drop CHOWN -p $PORT:80 \
    --ulimit nofile=1:2 --dns 1.1.1.1 --add-host a:1.2.3.4 --restart always --read-only --init \
    --security-opt no-new-privileges --group-add 5 --shm-size 1m --pids-limit 9 --ipc none \
    --device /dev/null --mount type=volume,src=vol,dst=/m,ro -v data:/d:ro --log-opt max-size=1m \
    --pid host --uts host --oom-score-adj 3 --tmpfs /t --sysctl net.ipv4.ip_forward=1 \
    busybox >/dev/null 2>&1
"""


def _field(kind: str, path: str) -> str:
    return f"docker inspect -f '{{{{json {path}}}}}' {kind}\n"


SCENARIOS = (
    Scenario(
        "ps-table",
        FEW
        + """
        docker ps; docker ps -a; docker ps -q | wc -l; docker ps -n 2 --format '{{.Names}}'
        docker ps -l --format '{{.Names}}'
        """,
    ),
    Scenario(
        "ps-format",
        FEW
        + """
        docker ps -a --no-trunc --format \\
            '{{.ID}}|{{.Image}}|{{.Command}}|{{.Ports}}|{{.Names}}|{{.Labels}}|{{.Mounts}}|{{.Networks}}|{{.LocalVolumes}}|{{.State}}|{{.Label "app"}}'
        """,  # noqa: E501
    ),
    Scenario(
        "ps-format-json",
        """
        docker create --name web -l a=b busybox echo 'a b' >/dev/null
        docker ps -a --format '{{json .}}'
        """,
    ),
    Scenario(
        "ps-size",
        """
        docker run --name web busybox sh -c 'head -c 5000 /dev/zero > /f'
        docker ps -as --format '{{.Size}}' | cut -d' ' -f1
        """,
    ),
    Scenario(
        "ps-long-command",
        """
        docker create --name web busybox sh -c 'echo a very long command line which is cut' \\
            >/dev/null
        docker ps -a --format '{{.Command}}'
        docker ps -a --no-trunc --format '{{.Command}}'
        """,
    ),
    Scenario("ps-filters", FEW + PS_FILTERS),
    Scenario(
        "ps-bad-format",
        """
        docker ps --format '{{.Nonsense}}'; docker ps --filter noequals; docker ps -n x
        """,
    ),
    Scenario(
        "inspect-state",
        SLEEPER
        + "".join(
            _field("web", path)
            for path in (
                ".State.Status",
                ".State.Running",
                ".State.Paused",
                ".State.Restarting",
                ".State.OOMKilled",
                ".State.Dead",
                ".State.ExitCode",
                ".State.Error",
                ".State.FinishedAt",
                ".Path",
                ".Args",
                ".RestartCount",
                ".Driver",
                ".Platform",
                ".MountLabel",
                ".ProcessLabel",
                ".AppArmorProfile",
                ".ExecIDs",
                ".Name",
                ".Mounts",
                ".GraphDriver.Name",
            )
        ),
    ),
    Scenario("inspect-config", SLEEPER + _field("web", ".Config")),
    Scenario(
        "inspect-config-rich",
        """
        docker create --name web -it -e A=1 -w /w -u 5 -h host --domainname d -l a=b --expose 80 \\
            -v /anon --stop-signal INT --stop-timeout 3 --entrypoint e --health-cmd true busybox \\
            x y >/dev/null
        """
        + _field("web", ".Config")
        + _field("web", ".Path")
        + _field("web", ".Args"),
    ),
    Scenario("inspect-host-config", SLEEPER + HOST),
    Scenario(
        "inspect-host-config-rich",
        RICH
        + HOST
        + "".join(
            _field("web", f".HostConfig.{n}") for n in ("Mounts", "Init", "Tmpfs", "Sysctls")
        ),
    ),
    Scenario(
        "inspect-mounts",
        """
        mkdir d
        docker create --name web -v data:/d1 -v $PWD/d:/d2:ro --mount \\
            type=volume,src=vol,dst=/d3,ro --tmpfs /d4 --mount type=tmpfs,dst=/d5 busybox \\
            >/dev/null
        docker inspect -f '{{range .Mounts}}{{json .}}{{println}}{{end}}' web | sed \\
            's/scratch-[pd]//' | sort
        """,
    ),
    Scenario(
        "inspect-keys",
        SLEEPER
        + """
        docker inspect -f '{{range $k, $v := .}}{{$k}}{{println}}{{end}}' web | sort
        docker inspect -s -f '{{.SizeRw}}' web; docker inspect -f '{{.SizeRw}}' web
        """,
    ),
    Scenario(
        "inspect-errors",
        """
        docker inspect nosuch; docker inspect --type container nosuch
        docker inspect --type volume nosuch; docker inspect --type network nosuch
        docker inspect --type what x; docker container inspect nosuch; docker inspect
        """,
    ),
    Scenario(
        "inspect-exec-ids",
        SLEEPER
        + """
        docker exec -d web sleep 500; docker inspect -f '{{len .ExecIDs}}' web
        """,
    ),
    Scenario(
        "events",
        """
        from=$(date +%s.%N); docker run --name web -l app=x busybox true
        docker rm web >/dev/null
        docker events --since $from --until $(($(date +%s) + 1)) --filter container=web \\
            --format \\
            '{{.Type}} {{.Action}} {{index .Actor.Attributes "exitCode"}} {{index .Actor.Attributes "app"}} {{index .Actor.Attributes "image"}}'
        """,  # noqa: E501
    ),
    Scenario(
        "events-lifecycle",
        """
        from=$(date +%s.%N); docker run -d --name web busybox sleep 600 >/dev/null
        docker pause web; docker unpause web; docker rename web other
        docker exec other true; docker kill -s CONT other; docker restart -t 0 other
        docker update -m 64m --memory-swap -1 other; docker stop -t 0 other; docker rm other
        docker events --since $from --until $(($(date +%s) + 1)) --filter type=container \\
            --format \\
            '{{.Action}} {{index .Actor.Attributes "signal"}} {{index .Actor.Attributes "name"}}'
        """,
    ),
    Scenario(
        "events-filters",
        """
        from=$(date +%s.%N)
        docker run -d --name web -l app=x -v data:/d busybox sleep 600 >/dev/null
        docker rm -f web >/dev/null; docker volume rm data >/dev/null
        until=$(($(date +%s) + 1)); show() { echo "$@"
        docker events --since $from --until $until --format '{{.Type}} {{.Action}}' "$@"; }
        show --filter event=start; show --filter type=volume; show --filter type=network
        show --filter label=app=x --filter event=die
        show --filter image=busybox --filter event=create; show --filter volume=data
        show --filter container=nosuch; show --filter event=nosuch
        show --filter network=bridge
        """,
    ),
    Scenario(
        "events-text",
        """
        from=$(date +%s.%N); docker create --name web -l a=b busybox >/dev/null
        docker events --since $from --until $(($(date +%s) + 1)) --filter type=container
        """,
    ),
    Scenario(
        "events-errors",
        """
        docker events --since nonsense --until 1; docker events --until 1 --filter nonsense
        """,
    ),
    Scenario(
        "version-fields",
        """
        docker version --format '{{.Server.Os}} {{.Server.Arch}} {{.Server.MinAPIVersion}}' | \\
            sed 's/ [0-9.]*$//'
        docker version >/dev/null
        """,
    ),
    Scenario(
        "info-fields",
        """
        docker info --format \\
            '{{.OSType}} {{.Architecture}} {{.NCPU}} {{.MemTotal}} {{.CgroupVersion}} {{.CgroupDriver}} {{.Driver}} {{.Swarm.LocalNodeState}} {{.KernelVersion}} {{.OperatingSystem}} {{.Name}}' \\
            2>/dev/null
        docker info >/dev/null 2>&1
        """,  # noqa: E501
    ),
    Scenario(
        "info-counts",
        FEW
        + """
        docker info --format \\
            '{{.Containers}} {{.ContainersRunning}} {{.ContainersPaused}} {{.ContainersStopped}}'
        """,
    ),
    Scenario(
        "system-df",
        """
        docker run --name web -v data:/d busybox sh -c 'echo x > /d/f'
        docker system df --format '{{.Type}} {{.TotalCount}} {{.Active}}'
        docker system df -v >/dev/null
        """,
    ),
    Scenario("system-df-table", "docker system df | cut -c1-20"),
    Scenario(
        "system-prune",
        """
        docker create busybox >/dev/null; docker network create pnt-x >/dev/null 2>&1
        docker system prune -f | head -2; docker ps -aq
        """,
    ),
    Scenario(
        "login-and-search-fail",
        """
        docker search busybox 2>/dev/null; docker plugin ls; docker swarm leave
        """,
    ),
    Scenario(
        "swarm-verbs",
        """
        docker node ls; docker service ls; docker secret ls; docker config ls;
        """,
    ),
)
