"""`docker run` and its flags."""

from tests.support.parity import Scenario

SCENARIOS = (
    Scenario("run-output-and-errors", "docker run --rm busybox sh -c 'echo out; echo err >&2'"),
    Scenario("run-exit-code", "docker run --rm busybox sh -c 'exit 37'"),
    Scenario("run-killed-by-signal", "docker run --rm busybox sh -c 'kill -9 $$'"),
    Scenario("run-stdin", "printf 'a\\nb\\n' | docker run --rm -i busybox cat"),
    Scenario("run-stdin-large", "head -c 3000000 /dev/zero | docker run --rm -i busybox wc -c"),
    Scenario("run-stdin-closed-without-i", "echo lost | docker run --rm busybox cat"),
    Scenario("run-output-large", "docker run --rm busybox head -c 2000000 /dev/zero | wc -c"),
    Scenario(
        "run-env",
        """
        export FROM_HOST=taken; printf 'FILE=1\\n# comment\\nFROM_HOST\\n' > list
        docker run --rm -e A=1 -e 'B=two words' -e FROM_HOST -e EMPTY= busybox env | sort
        docker run --rm --env-file list busybox env | sort
        docker run --rm -e PATH=/x:/bin busybox env | sort
        """,
    ),
    Scenario("run-env-bad-file", "docker run --rm --env-file nowhere busybox true"),
    Scenario("run-default-environment", "docker run --rm -h fixed busybox env"),
    Scenario("run-home-of-user", "docker run --rm -u www-data -h fixed busybox env"),
    Scenario(
        "run-workdir",
        """
        docker run --rm -w /tmp busybox pwd
        docker run --rm -w /made/here busybox pwd
        docker run --rm -w relative busybox pwd
        """,
    ),
    Scenario(
        "run-user",
        """
        for user in 1000 1000:1001 nobody nobody:users :7 0:users daemon: ''; do
            docker run --rm -u "$user" busybox id
        done
        """,
    ),
    Scenario(
        "run-user-unknown",
        """
        docker run --rm -u who busybox id
        docker run --rm -u nobody:which busybox id
        docker run --rm -u -1 busybox id
        docker run --rm -u 4294967296 busybox id
        """,
    ),
    Scenario("run-group-add", "docker run --rm --group-add wheel --group-add 4242 busybox id"),
    Scenario("run-group-add-unknown", "docker run --rm --group-add nosuch busybox id"),
    Scenario(
        "run-entrypoint",
        """
        docker run --rm --entrypoint echo busybox one two
        docker run --rm --entrypoint /bin/sh busybox -c 'echo $0'
        docker run --rm --entrypoint '' busybox echo reset
        """,
    ),
    Scenario(
        "run-hostname",
        """
        docker run --rm -h web.example busybox sh -c 'hostname; cat /etc/hostname'
        """,
    ),
    Scenario(
        "run-domainname",
        """
        docker run --rm -h web --domainname example.org busybox hostname -f
        """,
    ),
    Scenario(
        "run-read-only",
        """
        docker run --rm --read-only busybox touch /x
        docker run --rm --read-only --tmpfs /run busybox touch /run/x
        docker run --rm --read-only busybox sh -c 'touch /dev/shm/x && echo shm'
        """,
    ),
    Scenario(
        "run-tmpfs",
        """
        docker run --rm --tmpfs /t busybox grep ' /t ' /proc/mounts
        docker run --rm --tmpfs /t:size=1m,mode=700,exec busybox grep ' /t ' /proc/mounts
        docker run --rm --tmpfs /t:uid=5,ro busybox grep ' /t ' /proc/mounts
        docker run --rm --tmpfs /t:nonsense=1 busybox true
        docker run --rm --tmpfs relative busybox true
        """,
    ),
    Scenario(
        "run-bind",
        """
        mkdir d; echo in > d/file
        docker run --rm -v "$PWD/d:/m" busybox sh -c 'cat /m/file; echo new > /m/made'
        cat d/made
        docker run --rm -v "$PWD/d:/m:ro" busybox touch /m/x
        docker run --rm -v "$PWD/d/file:/etc/one" busybox cat /etc/one
        docker run --rm -v "$PWD/d:/m:rw,z" busybox ls /m
        docker run --rm -v "$PWD/new/dir:/m" busybox ls -d /m; ls -d new/dir
        """,
    ),
    Scenario(
        "run-bind-errors",
        """
        docker run --rm -v "$PWD:relative" busybox true
        docker run --rm -v "$PWD:/" busybox true
        docker run --rm -v "$PWD:/m:bad" busybox true
        docker run --rm -v "$PWD:/m:ro,rw" busybox true
        docker run --rm -v "a/b:/m" busybox true
        docker run --rm -v "$PWD:/m" -v "/tmp:/m" busybox true
        docker run --rm -v : busybox true
        """,
    ),
    Scenario(
        "run-bind-onto-file-and-directory",
        """
        echo text > file; mkdir dir
        docker run --rm -v "$PWD/file:/etc" busybox true 2>/dev/null; echo $?
        docker run --rm -v "$PWD/dir:/etc/passwd" busybox true 2>/dev/null; echo $?
        """,
    ),
    Scenario(
        "run-volume-named",
        """
        docker run --rm -v data:/d busybox sh -c 'echo kept > /d/f'
        docker run --rm -v data:/d:ro busybox cat /d/f
        docker run --rm -v data:/etc busybox ls /etc
        docker run --rm -v copied:/etc busybox cat /etc/group | head -1
        docker run --rm -v empty:/etc:nocopy busybox ls /etc/group
        docker volume ls -q
        """,
    ),
    Scenario(
        "run-volume-anonymous",
        """
        docker run --rm -v /anon busybox ls -d /anon; docker volume ls -q | wc -l
        docker run --name web -v /anon busybox true; docker volume ls -q | wc -l
        docker rm web; docker volume ls -q | wc -l
        """,
    ),
    Scenario(
        "run-volumes-from",
        """
        docker run --name web -v data:/d -v /anon busybox sh -c 'echo 1 > /d/f; echo 2 > /anon/f'
        docker run --rm --volumes-from web busybox cat /d/f /anon/f
        docker run --rm --volumes-from web:ro busybox touch /d/g
        docker run --rm --volumes-from nosuch busybox true
        docker run --rm --volumes-from web:bad busybox true
        """,
    ),
    Scenario(
        "run-mount-bind",
        """
        mkdir d; echo in > d/file
        docker run --rm --mount "type=bind,src=$PWD/d,dst=/m" busybox cat /m/file
        docker run --rm --mount "type=bind,src=$PWD/d,dst=/m,readonly" busybox touch /m/x
        docker run --rm --mount "type=bind,src=$PWD/nowhere,dst=/m" busybox true
        docker run --rm --mount "type=bind,src=relative,dst=/m" busybox true
        docker run --rm --mount "type=bind,dst=/m" busybox true
        docker run --rm --mount "type=bind,src=$PWD/d" busybox true
        docker run --rm --mount "type=bind,src=$PWD/d,dst=m" busybox true
        """,
    ),
    Scenario(
        "run-mount-propagation",
        """
        mkdir d
        docker run --rm --mount "type=bind,src=$PWD/d,dst=/m,bind-propagation=private" busybox true
        docker run --rm --mount "type=bind,src=$PWD/d,dst=/m,bind-propagation=what" busybox true
        docker run --rm --mount "type=volume,src=vol,dst=/m,bind-propagation=private" busybox true
        """,
    ),
    Scenario(
        "run-mount-volume",
        """
        docker run --rm --mount type=volume,src=vol,dst=/etc busybox grep -c : /etc/group
        docker run --rm --mount type=volume,src=wol,dst=/etc,volume-nocopy busybox ls /etc/group
        docker run --rm --mount type=volume,dst=/m busybox touch /m/x
        docker run --rm --mount type=volume,src=vol,dst=/m,volume-label=a=b busybox true
        docker run --rm --mount type=volume,src=/abs,dst=/m busybox true
        docker run --rm --mount type=volume,src=vol,dst=/m,ro busybox touch /m/x
        docker volume ls -q
        """,
    ),
    Scenario(
        "run-mount-tmpfs",
        """
        docker run --rm --mount type=tmpfs,dst=/t busybox grep ' /t ' /proc/mounts
        docker run --rm --mount type=tmpfs,dst=/t,tmpfs-size=64k,tmpfs-mode=0700 busybox \
            grep ' /t ' /proc/mounts
        docker run --rm --mount type=tmpfs,src=/x,dst=/t busybox true
        docker run --rm --mount type=unknown,dst=/t busybox true
        """,
    ),
    Scenario(
        "run-memory",
        """
        docker run --rm -m 64m busybox cat /sys/fs/cgroup/memory/memory.limit_in_bytes
        docker run --rm -m 64m --memory-swap 128m --memory-reservation 32m busybox true
        docker run --rm -m 1k busybox true
        docker run --rm -m 64m --memory-swap 32m busybox true
        docker run --rm --memory-swap 32m busybox true
        docker run --rm -m 64m --memory-reservation 128m busybox true
        docker run --rm -m nonsense busybox true
        """,
    ),
    Scenario(
        "run-cpus",
        """
        docker run --rm --cpus 0.5 busybox cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us
        docker run --rm --cpu-shares 512 busybox cat /sys/fs/cgroup/cpu/cpu.shares
        docker run --rm --cpu-period 50000 --cpu-quota 25000 busybox cat \
            /sys/fs/cgroup/cpu/cpu.cfs_period_us /sys/fs/cgroup/cpu/cpu.cfs_quota_us
        docker run --rm --cpuset-cpus 0 busybox cat /sys/fs/cgroup/cpuset/cpuset.cpus
        """,
    ),
    Scenario(
        "run-cpu-errors",
        """
        docker run --rm --cpus 0.5 --cpu-quota 1000 busybox true
        docker run --rm --cpus 1000 busybox true
        docker run --rm --cpu-period 10 busybox true
        docker run --rm --cpu-quota 10 busybox true
        docker run --rm --cpuset-cpus 900 busybox true
        docker run --rm --cpuset-cpus x busybox true
        """,
    ),
    Scenario(
        "run-pids-limit",
        """
        docker run --rm --pids-limit 20 busybox cat /sys/fs/cgroup/pids/pids.max
        docker run --rm --pids-limit -1 busybox cat /sys/fs/cgroup/pids/pids.max
        """,
    ),
    Scenario(
        "run-ulimit",
        """
        docker run --rm --ulimit nofile=100:200 busybox sh -c 'ulimit -Sn; ulimit -Hn'
        docker run --rm --ulimit core=0 busybox sh -c 'ulimit -c'
        docker run --rm --ulimit nofile=300:200 busybox true
        docker run --rm --ulimit what=1 busybox true
        """,
    ),
    Scenario(
        "run-capabilities",
        """
        caps='grep Cap /proc/self/status'
        docker run --rm busybox $caps
        docker run --rm --cap-drop ALL busybox $caps
        docker run --rm --cap-drop all --cap-add NET_ADMIN busybox $caps
        docker run --rm --cap-add CAP_SYS_TIME --cap-drop chown busybox $caps
        docker run --rm --cap-add NONSENSE busybox $caps
        docker run --rm -u 1000 busybox $caps
        """,
    ),
    Scenario(
        "run-not-privileged",
        """
        docker run --rm busybox mount -t tmpfs x /mnt
        """,
    ),
    Scenario(
        "run-security-opt",
        """
        status='grep -E Seccomp:|NoNewPrivs /proc/self/status'
        docker run --rm busybox $status
        docker run --rm --security-opt no-new-privileges busybox $status
        docker run --rm --security-opt no-new-privileges:false busybox $status
        docker run --rm --security-opt seccomp=unconfined busybox $status
        docker run --rm --security-opt nonsense busybox true
        docker run --rm --security-opt what=1 busybox true
        docker run --rm --security-opt seccomp=missing.json busybox true
        echo '{' > bad.json; docker run --rm --security-opt seccomp=bad.json busybox true
        """,
    ),
    Scenario(
        "run-security-opt-profile",
        """
        cat > profile.json <<'END'
        {"defaultAction": "SCMP_ACT_ALLOW",
         "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}
END
        docker run --rm --security-opt seccomp=profile.json busybox mkdir /x
        """,
    ),
    Scenario(
        "run-masked-paths",
        """
        docker run --rm busybox sh -c 'cat /proc/kcore | wc -c; ls /sys/firmware'
        docker run --rm busybox sh -c 'echo x > /proc/sysrq-trigger'
        docker run --rm --security-opt systempaths=unconfined busybox ls /proc/acpi >/dev/null
        """,
    ),
    Scenario(
        "run-init",
        """
        docker run --rm --init busybox sh -c 'cat /proc/1/cmdline | tr "\\\\0" " "; echo'
        """,
    ),
    Scenario("run-init-exit-code", "docker run --rm --init busybox sh -c 'exit 9'"),
    Scenario(
        "run-network-none",
        """
        docker run --rm --network none busybox sh -c 'ip -o link; grep -v ip6- /etc/hosts'
        """,
    ),
    Scenario(
        "run-network-host",
        """
        docker run --rm --network host busybox ip -o link show lo | head -c 30
        """,
    ),
    Scenario(
        "run-network-bridge",
        """
        docker run --rm -h me busybox sh -c \\
            'ip -o -4 address | sed s/^[0-9]*//; ip route; grep -v ip6- /etc/hosts'
        """,
    ),
    Scenario(
        "run-network-container",
        """
        docker run -d --name web -h shared busybox sleep 600 >/dev/null
        docker run --rm --network container:web busybox hostname
        docker run --rm --network container:web busybox grep -v ip6- /etc/hosts
        docker run --rm --network container:nosuch busybox true
        docker run --rm --network container:web -h x busybox true
        docker run --rm --network container:web -p 80 busybox true
        docker run --rm --network container:web --add-host a:1.2.3.4 busybox true
        docker run --rm --network container:web --dns 1.2.3.4 busybox true
        docker kill web; docker run --rm --network container:web busybox true
        """,
    ),
    Scenario("run-network-unknown", "docker run --rm --network nosuch busybox true"),
    Scenario(
        "run-network-host-with-port",
        """
        docker run --rm --network host -p $PORT:80 busybox true
        """,
    ),
    Scenario(
        "run-network-alias-on-default-bridge",
        """
        docker run --rm --network-alias a busybox true
        """,
    ),
    Scenario(
        "run-ipc",
        """
        docker run --rm --ipc none busybox ls -A /dev/shm
        docker run --rm --ipc private --shm-size 2m busybox df /dev/shm | tail -1
        docker run -d --name web --ipc shareable busybox sh -c \\
            'echo s > /dev/shm/f; sleep 600' >/dev/null
        docker run --rm --ipc container:web busybox cat /dev/shm/f
        docker run --rm --ipc container:nosuch busybox true
        docker run --rm --ipc what busybox true
        """,
    ),
    Scenario(
        "run-pid",
        """
        docker run --rm busybox sh -c 'echo $$'
        docker run -d --name web busybox sleep 600 >/dev/null
        docker run --rm --pid container:web busybox ps -o pid,args | head -2
        docker run --rm --pid container:nosuch busybox true
        docker run --rm --pid what busybox true
        docker run --rm --pid host busybox sh -c 'test $$ -gt 100 && echo host'
        """,
    ),
    Scenario(
        "run-uts",
        """
        docker run --rm --uts host busybox hostname | wc -l
        docker run --rm --uts host -h x busybox true
        docker run --rm --uts what busybox true
        """,
    ),
    Scenario("run-userns-invalid", "docker run --rm --userns what busybox true"),
    Scenario(
        "run-hosts-and-dns",
        """
        docker run --rm --add-host db:10.1.2.3 --add-host six:::1 -h me busybox grep -v ip6- \\
            /etc/hosts
        docker run --rm --dns 1.2.3.4 --dns-search example.org --dns-opt ndots:2 busybox       \\
                  grep -v '^#' /etc/resolv.conf | sort
        docker run --rm --add-host nonsense busybox true
        docker run --rm --add-host a:notanip busybox true
        docker run --rm --dns nonsense busybox true
        """,
    ),
    Scenario(
        "run-labels",
        """
        printf 'from=file\\n' > list
        docker run --name web -l a=1 -l b -l c.d=e=f --label-file list busybox true
        docker inspect -f '{{json .Config.Labels}}' web
        """,
    ),
    Scenario(
        "run-stop-signal",
        """
        docker run -d --name web --stop-signal INT busybox sh -c \\
            'trap "exit 5" INT; while :; do sleep 0.1; done' >/dev/null
        docker stop web; docker wait web; docker run --rm --stop-signal WHAT busybox true
        """,
    ),
    Scenario(
        "run-restart-policy",
        """
        docker run -d --name web --restart on-failure:2 busybox false >/dev/null
        for i in $(seq 200); do
        [ "$(docker inspect -f '{{.State.Status}}{{.RestartCount}}' web)" = exited2 ] && break
        sleep 0.1; done
        docker inspect -f '{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}' web
        docker run --restart on-failure:x busybox true
        docker run --rm --restart always busybox true
        """,
    ),
    Scenario(
        "run-health",
        """
        docker run -d --name web --health-cmd 'test -f /ok' --health-interval 200ms \\
            --health-retries 2             --health-timeout 20s busybox sleep 600 >/dev/null
        until [ "$(docker inspect -f '{{.State.Health.Status}}' web)" = unhealthy ]; do sleep \\
            0.1
        done; docker ps --format '{{.Names}} {{.Status}}'; docker exec web touch /ok
        until [ "$(docker inspect -f '{{.State.Health.Status}}' web)" = healthy ]; do sleep 0.1
        done; docker ps --format '{{.Names}} {{.Status}}'
        docker inspect -f '{{json .Config.Healthcheck}} {{.State.Health.FailingStreak}}' web
        """,
    ),
    Scenario(
        "run-health-options",
        """
        docker run --name web --no-healthcheck busybox true
        docker inspect -f '{{json .Config.Healthcheck}} {{json .State.Health}}' web
        docker run --health-interval 1us --health-cmd true busybox true
        docker run --health-retries -1 --health-cmd true busybox true
        docker run --no-healthcheck --health-cmd true busybox true
        """,
    ),
    Scenario(
        "run-log-driver-none",
        """
        docker run --name web --log-driver none busybox echo seen
        docker logs web
        docker run --rm --log-opt max-size=1m --log-opt max-file=2 busybox true
        """,
    ),
    Scenario(
        "run-cidfile",
        """
        docker run --cidfile id --name web busybox true; wc -c < id
        [ "$(cat id)" = "$(docker inspect -f '{{.Id}}' web)" ] && echo same
        docker run --cidfile id busybox true
        """,
    ),
    Scenario(
        "run-name-conflict",
        """
        docker run --name web busybox true; docker run --name web busybox true
        """,
    ),
    Scenario(
        "run-name-invalid",
        """
        docker run --name 'a b' busybox true
        docker run --name x busybox true
        docker run --name -x busybox true
        docker run --name /slash busybox true; docker ps -a --format '{{.Names}}'
        """,
    ),
    Scenario("run-image-missing", "docker run --pull never nosuch:tag true"),
    Scenario(
        "run-image-invalid",
        """
        docker run --rm UPPER true; docker run --rm 'a b' true; docker run --rm a:b:c true
        """,
    ),
    Scenario(
        "run-command-missing",
        """
        docker run --name web busybox nosuch; docker ps -a --format '{{.Names}} {{.Status}}'
        """,
    ),
    Scenario("run-path-missing", "docker run --rm busybox /no/such"),
    Scenario("run-not-executable", "docker run --rm busybox /etc/passwd"),
    Scenario("run-directory", "docker run --rm busybox /etc"),
    Scenario(
        "run-detached-command-missing",
        """
        docker run -d --name web busybox nosuch
        docker inspect -f '{{.State.ExitCode}} {{.State.Error}}' web
        """,
    ),
    Scenario(
        "run-flags-conflict",
        """
        docker run -d --rm -a stdout busybox true; docker run --no-such-flag busybox true
        """,
    ),
    Scenario("run-without-image", "docker run"),
    Scenario(
        "run-attach-only-stderr",
        """
        docker run --rm -a stderr busybox sh -c 'echo out; echo err >&2'
        """,
    ),
    Scenario("run-tty", "docker run --rm -t busybox sh -c 'tty; echo err >&2'"),
    Scenario("run-tty-needs-terminal", "echo | docker run --rm -it busybox true"),
    Scenario(
        "run-detached",
        """
        docker run -d --name web busybox true; docker wait web
        docker run -d --rm busybox true
        """,
    ),
    Scenario(
        "run-rm-removes",
        """
        docker run --rm --name web busybox true; docker ps -aq; docker volume ls -q
        """,
    ),
    Scenario(
        "run-sysctl",
        """
        docker run --rm --sysctl net.ipv4.ip_forward=0 busybox cat /proc/sys/net/ipv4/ip_forward
        docker run --rm --sysctl kernel.panic=1 busybox true
        docker run --rm --sysctl nonsense busybox true
        """,
    ),
    Scenario(
        "run-device",
        """
        docker run --rm --device /dev/null:/dev/mynull busybox ls -l /dev/mynull | cut -c1-10
        docker run --rm --device /dev/null:/dev/mynull:r busybox sh -c 'echo > /dev/mynull'
        docker run --rm --device /dev/nosuch busybox true
        docker run --rm --device /dev/null:/dev/n:q busybox true
        """,
    ),
    Scenario("run-devices-default", "docker run --rm busybox ls /dev | grep -v core"),
    Scenario(
        "run-mounts-default",
        """
        docker run --rm busybox awk '{print $2}' /proc/mounts | grep -vE '^/(proc|sys)/.' | sort
        """,
    ),
    Scenario("run-root-listing", "docker run --rm busybox ls -a /"),
    Scenario("run-shm-size", "docker run --rm --shm-size 1m busybox df /dev/shm | tail -1"),
    Scenario(
        "run-oom-score-adj",
        """
        docker run --rm --oom-score-adj 500 busybox cat /proc/self/oom_score_adj
        docker run --rm --oom-score-adj 5000 busybox true
        """,
    ),
    Scenario(
        "run-umask-and-cgroup-view",
        """
        docker run --rm busybox sh -c 'umask; cut -d: -f2 /proc/self/cgroup | sort'
        """,
    ),
    Scenario(
        "run-platform",
        """
        docker run --rm --pull never --platform linux/amd64 busybox echo same
        """,
    ),
)
