"""Where this engine means to differ from dockerd 20.10: the reason, and what it says."""

from tests.support.parity import Scenario

SCENARIOS = (
    Scenario(
        "run-hostname-invalid",
        "docker run --rm -h 'under score!' busybox hostname",
        differs="API 1.44 and later refuse what is no host name",
        ours="""\
--- errors
docker: Error response from daemon: invalid hostname format: under score!
--- exit 125
""",
    ),
    Scenario(
        "run-two-mounts-at-one-place",
        "docker run --rm --mount type=tmpfs,dst=/t --tmpfs /t busybox true",
        differs="one of them would be hidden by the other; dockerd refuses that for binds only",
        ours="""\
--- errors
docker: Error response from daemon: duplicate mount point: /t
--- exit 125
""",
    ),
    Scenario(
        "run-privileged",
        """\
docker run --rm --privileged busybox sh -c 'mount -t tmpfs x /tmp && echo mounted'
docker run --rm --privileged busybox grep -E 'Seccomp:|NoNewPrivs' /proc/self/status""",
        differs="where the host lacks capabilities dockerd fails; this engine gives what there is",
        ours="""\
mounted
NoNewPrivs:	0
Seccomp:	0
--- errors
--- exit 0
""",
    ),
    Scenario(
        "exec-privileged",
        """\
docker run -d --name web busybox sleep 600 >/dev/null
docker exec --privileged web grep -E 'Seccomp:|NoNewPrivs' /proc/self/status""",
        differs="as for run; the filter stays, since it is the container's",
        ours="""\
NoNewPrivs:	0
Seccomp:	2
--- errors
--- exit 0
""",
    ),
    Scenario(
        "run-hosts-of-ipv6",
        "docker run --rm busybox grep ip6- /etc/hosts",
        differs="later Docker says it so",
        ours="""\
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
--- errors
--- exit 0
""",
    ),
    Scenario(
        "run-ipc-of-private",
        """
        docker run -d --name web busybox sleep 600 >/dev/null
        docker run --rm --ipc container:web busybox true
        """,
        differs="later Docker says it so",
        ours="""\
--- errors
docker: Error response from daemon: cannot join IPC namespace of container <id>: non-shareable IPC (hint: use IpcMode:shareable for the donor container)
--- exit 125
""",  # noqa: E501
    ),
    Scenario(
        "run-stop-signal-unknown",
        "docker run --rm --stop-signal 99 busybox true",
        differs="dockerd takes any number here and fails when it stops the container",
        ours="""\
--- errors
docker: Error response from daemon: invalid signal: 99
--- exit 125
""",
    ),
    Scenario(
        "run-restart-policy-unknown",
        """
        docker run --restart what busybox true; docker run --restart always:3 busybox true
        docker run --restart on-failure:-1 busybox true
        """,
        differs="later Docker says it so",
        ours="""\
--- errors
docker: Error response from daemon: invalid restart policy: unknown policy 'what'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'
docker: Error response from daemon: invalid restart policy: maximum retry count can only be used with 'on-failure'
docker: Error response from daemon: invalid restart policy: maximum retry count cannot be negative
--- exit 125
""",  # noqa: E501
    ),
    Scenario(
        "run-log-driver-unknown",
        """\
docker run --log-driver nosuch busybox true
docker run --log-opt nonsense=1 busybox true
docker run --log-opt max-size=x busybox true""",
        differs="there are no log plugins, and options are checked at create",
        ours="""\
--- errors
docker: Error response from daemon: logger: no log driver named 'nosuch' is registered
docker: Error response from daemon: unknown log opt 'nonsense' for json-file log driver
docker: Error response from daemon: invalid size: 'x'
--- exit 125
""",
    ),
    Scenario(
        "run-script-without-interpreter",
        "printf '#!/no/such\\n' > s; chmod +x s; docker run --rm -v $PWD/s:/s busybox /s",
        differs="the words are crun's",
        ours="""\
--- errors
exec container process (missing dynamic library?) `/s`: No such file or directory
--- exit 1
""",
    ),
    Scenario(
        "run-wrong-format",
        "printf 'ELF?' > s; chmod +x s; docker run --rm -v $PWD/s:/s busybox /s",
        differs="the words are crun's",
        ours="""\
--- errors
exec container process `/s`: Exec format error
--- exit 1
""",
    ),
    Scenario(
        "run-workdir-on-a-file",
        """
        docker run --rm -w /bin/busybox busybox pwd
        """,
        differs="the words are crun's",
        ours="""\
--- errors
docker: Error response from daemon: failed to create shim task: OCI runtime create failed: <runtime> create failed: chdir `/bin/busybox`: Not a directory: unknown
--- exit 125
""",  # noqa: E501
    ),
    Scenario(
        "run-sysctl-of-the-host",
        """
        docker run --rm --network host --sysctl net.ipv4.ip_forward=0 busybox true
        """,
        differs="refused at create, as later Docker does",
        ours="""\
--- errors
docker: Error response from daemon: sysctl "net.ipv4.ip_forward" not allowed in host network namespace
--- exit 125
""",  # noqa: E501
    ),
    Scenario(
        "run-runtime-unknown",
        "docker run --rm --runtime nosuch busybox true",
        differs="later Docker says it so",
        ours="""\
--- errors
docker: Error response from daemon: unknown or invalid runtime name: nosuch
--- exit 125
""",
    ),
    Scenario(
        "run-isolation-unknown",
        "docker run --rm --isolation hyperv busybox true",
        differs="later Docker says it so",
        ours="""\
--- errors
docker: Error response from daemon: invalid isolation 'hyperv' on linux
--- exit 125
""",
    ),
    Scenario(
        "run-volume-driver-unknown",
        """
        docker run --rm --pull never --volume-driver nosuch -v vol:/d busybox true
        """,
        differs="there are no plugins to wait 15 s for",
        ours="""\
--- errors
docker: Error response from daemon: error looking up volume plugin nosuch: plugin "nosuch" not found
--- exit 125
""",  # noqa: E501
    ),
    Scenario(
        "run-link",
        """\
docker run -d --name web busybox sleep 600 >/dev/null
docker run --rm --link web:db busybox true""",
        differs="links are not supported",
        ours="""\
--- errors
docker: Error response from daemon: links between containers are not supported by this engine yet
--- exit 125
""",
    ),
    Scenario(
        "run-masked-paths-shown",
        """
        docker run -d --name web busybox sleep 600 >/dev/null
        docker inspect -f '{{json .HostConfig.ReadonlyPaths}}' web
        docker inspect -f '{{join .HostConfig.MaskedPaths "\\n"}}' web | grep -v thermal_throttle
        """,
        differs="the list has grown since",
        ours="""\
["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]
/proc/acpi
/proc/asound
/proc/interrupts
/proc/kcore
/proc/keys
/proc/latency_stats
/proc/sched_debug
/proc/scsi
/proc/timer_list
/proc/timer_stats
/sys/devices/virtual/powercap
/sys/firmware
--- errors
--- exit 0
""",
    ),
    Scenario(
        "kill-signal-out-of-range",
        """\
docker run -d --name web busybox sleep 600 >/dev/null
docker kill -s 200 web""",
        differs="one text for every signal that does not exist",
        ours="""\
--- errors
Error response from daemon: invalid signal: 200
--- exit 1
""",
    ),
    Scenario(
        "rm-running",
        """
        docker run -d --name web busybox sleep 600 >/dev/null; docker rm web
        docker pause web; docker rm web
        """,
        differs="later Docker says it so",
        ours="""\
web
--- errors
Error response from daemon: cannot remove container "web": container is running: stop the container before removing or force remove
Error response from daemon: cannot remove container "web": container is paused and must be unpaused first
--- exit 1
""",  # noqa: E501
    ),
    Scenario(
        "exec-not-found-exit-code",
        """\
docker run -d --name web busybox sleep 600 >/dev/null
docker exec web nosuch >/dev/null; echo $?; docker exec web /no/such >/dev/null; echo $?""",
        differs="127 as for run; dockerd says 126 until 27.0",
        ours="""\
127
127
--- errors
--- exit 0
""",
    ),
    Scenario(
        "logs-long-line",
        """
        docker run --name web busybox sh -c \\
            'head -c 40000 /dev/zero | tr "\\\\0" a; echo; echo end' >/dev/null
        docker logs -t web | wc -l; docker logs -t web | grep -o Z | wc -l
        """,
        differs="dockerd puts a time into the middle of a line after each 16 KiB",
        ours="""\
2
2
--- errors
--- exit 0
""",
    ),
    Scenario(
        "logs-binary",
        """
        docker run --name web busybox printf '\\377\\000\\001\\n' >/dev/null
        docker logs web | od -c
        """,
        differs="dockerd replaces bytes that are no UTF-8",
        ours="""\
0000000 377  \\0 001  \\n
0000004
--- errors
--- exit 0
""",
    ),
    Scenario(
        "update-restart-policy-unknown",
        """
        docker run -d --name web busybox sleep 600 >/dev/null
        docker update --restart nonsense web
        """,
        differs="later Docker says it so",
        ours="""\
--- errors
Error response from daemon: invalid restart policy: unknown policy 'nonsense'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'
--- exit 1
""",  # noqa: E501
    ),
    Scenario(
        "ps-filter-bad-values",
        """
        for filter in exited=x before=nosuch since=nosuch health=nonsense expose=x; do docker \\
            ps --filter $filter
        done
        """,
        differs="the filter is named",
        ours="""\
--- errors
Error response from daemon: invalid filter 'exited=x'
Error response from daemon: no such container: nosuch
Error response from daemon: no such container: nosuch
Error response from daemon: invalid filter 'health=nonsense'
Error response from daemon: invalid filter: invalid port 'x'
--- exit 1
""",
    ),
    Scenario(
        "ps-filter-expose",
        """
        docker create --name new --expose 90 busybox >/dev/null
        docker ps -a --filter expose=90 --format '{{.Names}}'
        """,
        differs="dockerd forgets the ports of containers that never ran",
        ours="""\
new
--- errors
--- exit 0
""",
    ),
    Scenario(
        "inspect-names-of-parts",
        """
        docker run -d --name web busybox sleep 600 >/dev/null
        docker inspect -f \\
            '{{.HostConfig.LogConfig.Type}} {{.HostConfig.Runtime}} {{.HostConfig.NetworkMode}}' web
        """,  # noqa: E501
        differs="another runtime; the network by name as in API 1.44",
        ours="""\
json-file crun bridge
--- errors
--- exit 0
""",
    ),
    Scenario(
        "inspect-network-of-stopped",
        """
        docker run --name web busybox true
        docker inspect -f '{{.NetworkSettings.SandboxKey}}|{{.NetworkSettings.SandboxID}}' web
        """,
        differs="the sandbox is gone",
        ours="""\
|
--- errors
--- exit 0
""",
    ),
    Scenario(
        "save-missing",
        "docker save nosuch",
        differs="later Docker says it so",
        ours="""\
--- errors
Error response from daemon: no such image: nosuch:latest
--- exit 1
""",
    ),
    Scenario(
        "events-filter-unknown",
        "docker events --until 1 --filter nonsense=1",
        differs="dockerd ignores the filter and shows everything",
        ours="""\
--- errors
Error response from daemon: invalid filter 'nonsense'
--- exit 1
""",
    ),
    Scenario(
        "cp-bad-archives",
        """
        docker create --name web busybox >/dev/null; echo junk | docker cp - web:/tmp
        echo junk > bad.tar; docker load -i bad.tar; docker import bad.tar x:y
        docker cp web: .
        """,
        differs="own reader of archives; its words",
        ours="""\
--- errors
Error response from daemon: invalid tar archive: unexpected end inside a header
Error response from daemon: invalid tar archive: unexpected end inside a header
Error response from daemon: invalid tar archive: unexpected end inside a header
Error response from daemon: bad parameter: 'path' cannot be empty
--- exit 1
""",
    ),
    Scenario(
        "rmi-bad-name",
        """
        docker rmi BAD
        """,
        differs="later Docker says it so",
        ours="""\
--- errors
Error response from daemon: invalid reference format: repository name (library/BAD) must be lowercase
--- exit 1
""",  # noqa: E501
    ),
    Scenario(
        "volume-prune-all",
        """
        docker volume create one >/dev/null
        docker run --name web -v /anon -v used:/d busybox true
        docker volume prune -f --filter all=true; docker volume ls -q | wc -l
        """,
        differs="dockerd has this filter since API 1.42",
        ours="""\
Deleted Volumes:
one

Total reclaimed space: 0B
2
--- errors
--- exit 0
""",
    ),
    Scenario(
        "network-inspect-host-and-none",
        "docker network inspect -f '{{.Name}} {{json .IPAM.Config}} {{json .Options}}' host none",
        differs="later Docker says it so",
        ours="""\
host null {}
none null {}
--- errors
--- exit 0
""",
    ),
)
