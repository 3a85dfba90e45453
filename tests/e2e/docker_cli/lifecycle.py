"""Containers after their creation: start, stop, wait, logs, attach, exec, rename, update."""

from tests.support.parity import Scenario

SLEEPER = "docker run -d --name web busybox sleep 600 >/dev/null\n"

SCENARIOS = (
    Scenario(
        "create-and-start",
        """
        docker create --name web busybox echo started | wc -c
        docker start web; docker wait web; docker logs web
        docker start -a web; docker start -ai web </dev/null; echo $?
        docker start nosuch; docker start web nosuch; docker start
        """,
    ),
    Scenario("start-running", SLEEPER + "docker start web; echo $?"),
    Scenario(
        "start-attached-exit-code",
        """
        docker create --name web busybox sh -c 'exit 6' >/dev/null; docker start -a web
        """,
    ),
    Scenario(
        "start-attached-stdin",
        """
        docker create -i --name web busybox cat >/dev/null
        echo typed | docker start -ai web
        """,
    ),
    Scenario("start-two-attached", "docker start -a a1 b2"),
    Scenario(
        "start-failing",
        """
        docker create --name web busybox nosuch >/dev/null; docker start web
        docker start -a web; docker ps -a --format '{{.Status}}'
        """,
    ),
    Scenario(
        "stop",
        """
        docker run -d --name web busybox sh -c \\
            'trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.1; done' >/dev/null
        until docker logs web | grep -q up; do :; done; docker stop web
        docker inspect -f '{{.State.ExitCode}} {{.State.Status}}' web; docker logs web
        docker stop web; docker stop nosuch; docker stop -t 0 web nosuch
        """,
    ),
    Scenario(
        "stop-kills-after-timeout",
        SLEEPER
        + """
        docker stop -t 1 web
        docker inspect -f '{{.State.ExitCode}} {{.State.OOMKilled}}' web
        """,
    ),
    Scenario(
        "stop-removes-rm",
        """
        docker run -d --rm --name web busybox sleep 600 >/dev/null; docker stop -t 0 web
        while docker inspect web >/dev/null 2>&1; do :; done; docker ps -aq
        """,
    ),
    Scenario(
        "restart",
        SLEEPER
        + """
        docker restart -t 0 web; docker ps --format '{{.Names}} {{.Status}}'
        docker restart nosuch; docker inspect -f '{{.RestartCount}}' web
        """,
    ),
    Scenario(
        "restart-stopped",
        """
        docker run --name web busybox echo once; docker restart web; docker wait web
        docker logs web
        """,
    ),
    Scenario(
        "kill",
        SLEEPER
        + """
        docker kill -s 0 web; docker kill -s NOPE web; docker kill -s USR1 nosuch
        docker kill web; docker inspect -f '{{.State.ExitCode}}' web; docker kill web
        """,
    ),
    Scenario(
        "kill-signals",
        """
        docker run -d --name web busybox sh -c \\
            'trap "echo usr1" USR1; trap "echo hup; exit 4" HUP; echo up; while :; do sleep 0.1; done' >/dev/null
        until docker logs web | grep -q up; do :; done; docker kill -s USR1 web
        until docker logs web | grep -q usr1; do :; done; docker kill -s sigusr1 web
        docker kill -s 1 web; docker wait web; docker logs web | tail -1
        """,  # noqa: E501
    ),
    Scenario(
        "pause",
        SLEEPER
        + """
        docker pause web; docker ps --format '{{.Status}}'; docker pause web; docker exec web true
        docker inspect -f '{{.State.Status}} {{.State.Paused}} {{.State.Running}}' web
        docker restart -t 0 nosuch; docker start web; docker top web | tail -1 | awk '{print $NF}'
        docker unpause web; docker unpause web; docker pause nosuch; docker unpause nosuch
        docker kill web; docker pause web; docker unpause web
        """,
    ),
    Scenario(
        "pause-then-stop",
        SLEEPER
        + """
        docker pause web; docker stop -t 1 web
        docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' web
        """,
    ),
    Scenario(
        "wait",
        """
        docker run -d --name web busybox sh -c 'exit 12' >/dev/null; docker wait web
        docker wait web web; docker wait nosuch
        """,
    ),
    Scenario(
        "rm",
        SLEEPER
        + """
        docker rm -f web; docker rm web; docker rm -f nosuch; echo $?
        docker create --name one -v data:/d -v /anon busybox >/dev/null
        docker volume ls -q | wc -l; docker rm -v one; docker volume ls -q
        docker create --name one busybox >/dev/null; docker create --name two busybox >/dev/null
        docker rm one nosuch two
        """,
    ),
    Scenario(
        "rm-link",
        """
        docker create --name web busybox >/dev/null; docker rm -l web; docker rm -l a/b
        """,
    ),
    Scenario(
        "ambiguous-and-empty-names",
        """
        for i in $(seq 40); do docker create busybox >/dev/null; done
        prefix=$(docker ps -aq | cut -c1 | sort | uniq -d | head -1)
        docker inspect --type container "$prefix" 2>&1 | sed "s/$prefix/P/"
        docker start "$prefix" 2>&1 | sed "s/: $prefix/: P/"
        docker rm "$prefix" 2>&1 | sed "s/: $prefix/: P/"
        docker stop ''; docker rm ' '
        """,
    ),
    Scenario(
        "short-id",
        """
        id=$(docker create --name web busybox)
        docker start $(echo $id | cut -c1-12) | wc -c
        docker inspect -f '{{.Name}}' $(echo $id | cut -c1-20)
        """,
    ),
    Scenario(
        "rename",
        SLEEPER
        + """
        docker rename web other; docker ps --format '{{.Names}}'
        docker create --name web busybox >/dev/null; docker rename web other
        docker rename web web; docker rename web 'b d'; docker rename nosuch x1
        docker rename web ''
        """,
    ),
    Scenario(
        "logs",
        """
        docker run --name web busybox sh -c \\
            'for i in 1 2 3 4 5; do echo $i; done; sleep 0.3; echo err >&2' >/dev/null 2>&1
        docker logs web; docker logs --tail 2 web; docker logs -n 0 web
        docker logs --tail all web; docker logs --tail x web; docker logs --tail -1 web
        docker logs nosuch; docker logs -t web; docker logs --details web
        docker logs --since 1h web; docker logs --until 1h web
        docker logs --since 2020-01-01 --until 2020-01-02 web
        docker logs --since 9999999999 web; docker logs --since nonsense web
        docker logs --since 1.5 web | wc -l
        """,
    ),
    Scenario(
        "logs-of-created",
        """
        docker create --name web busybox >/dev/null; docker logs web; docker logs -f web
        """,
    ),
    Scenario(
        "logs-follow",
        """
        docker run -d --name web busybox sh -c 'for i in 1 2 3; do echo $i; sleep 0.3; done' \\
            >/dev/null
        docker logs -f web; docker logs -f --tail 1 web
        """,
    ),
    Scenario(
        "logs-details",
        """
        docker run --name web -e A=b -l l=m --log-opt env=A --log-opt labels=l busybox echo x
        docker logs --details web
        """,
    ),
    Scenario(
        "logs-partial-line",
        """
        docker run --name web busybox printf 'no newline'; docker logs web
        docker logs -t web
        """,
    ),
    Scenario(
        "logs-tty",
        """
        docker run -t --name web busybox sh -c 'echo a; echo b >&2'; docker logs web | od -c
        """,
    ),
    Scenario(
        "attach",
        """
        docker run -d -i --name web busybox sh -c 'read x; echo got $x; sleep 1; exit 8' \\
            >/dev/null
        (echo word; sleep 1) | docker attach web; echo $?; docker attach web; docker attach nosuch
        docker create --name new busybox >/dev/null; docker attach new
        """,
    ),
    Scenario("attach-paused", SLEEPER + "docker pause web >/dev/null; docker attach web"),
    Scenario(
        "attach-no-stdin",
        """
        docker run -d --name web busybox sh -c 'sleep 1; echo late; exit 3' >/dev/null
        docker attach --no-stdin web
        """,
    ),
    Scenario(
        "exec",
        SLEEPER
        + """
        docker exec web sh -c 'echo out; echo err >&2; exit 7'; echo $?
        echo piped | docker exec -i web cat
        echo lost | docker exec web cat
        docker exec -e A=1 -e B web env | grep -v HOSTNAME | sort
        docker exec -w /tmp web pwd; docker exec -w /nosuch web pwd; docker exec -w rel web pwd
        docker exec -u 1000:1 web id; docker exec -u nobody web id; docker exec -u who web id
        docker exec -d web touch /made; until docker exec web ls /made 2>/dev/null; do :; done
        docker exec -t web tty
        """,
    ),
    Scenario(
        "exec-errors",
        SLEEPER
        + """
        docker exec web nosuch
        docker exec web /no/such
        docker exec web /etc/passwd; echo $?
        docker exec -d web nosuch; echo $?
        docker exec nosuch true; echo $?
        docker exec web;
        docker exec web sh -c 'kill -9 $$'; echo $?
        docker kill web >/dev/null; docker exec web true; echo $?
        """,
    ),
    Scenario(
        "exec-env-file",
        SLEEPER
        + """
        printf 'X=file\\n' > list; docker exec --env-file list web env | grep X=
        docker exec -e =x web env
        """,
    ),
    Scenario(
        "exec-stdin-large",
        SLEEPER
        + """
        head -c 2000000 /dev/zero | docker exec -i web wc -c
        docker exec web head -c 2000000 /dev/zero | wc -c
        """,
    ),
    Scenario(
        "exec-capabilities",
        SLEEPER
        + """
        docker exec web grep -E 'Cap|NoNew' /proc/self/status
        docker exec -u 1000 web grep Cap /proc/self/status
        """,
    ),
    Scenario(
        "exec-in-limits",
        """
        docker run -d --name web -m 64m --ulimit nofile=77:88 --read-only busybox sleep 600 \\
            >/dev/null
        docker exec web sh -c \\
            'cat /sys/fs/cgroup/memory/memory.limit_in_bytes; ulimit -Sn; ulimit -Hn; touch /x'
        """,
    ),
    Scenario("exec-detach-keys", SLEEPER + "docker exec --detach-keys nonsense-keys web true"),
    Scenario(
        "top",
        SLEEPER
        + """
        docker top web | awk '{print NF}' | head -1; docker top web | awk '{print $1, $8, $9}'
        docker top web -o pid,args | awk '{print NR, $2, $3}'; docker top web -o args
        docker top web -o args,nosuch; docker top web aux | head -1
        docker top nosuch; docker kill web >/dev/null; docker top web
        """,
    ),
    Scenario(
        "diff",
        """
        docker run --name web busybox sh -c \\
            'echo x > /new; rm /etc/shadow; echo y >> /etc/group; mkdir -p /d/e; touch /d/e/f'
        docker diff web | sort; docker diff nosuch; docker diff ''
        """,
    ),
    Scenario("diff-nothing", "docker run --name web busybox true; docker diff web"),
    Scenario(
        "diff-mounts",
        """
        docker run --name web -v data:/made/vol --tmpfs /made/tmp -w /made/work busybox touch \\
            /made/vol/x
        docker diff web | sort
        """,
    ),
    Scenario(
        "export",
        """
        docker run --name web busybox sh -c 'echo x > /new; ln -s new /link'
        docker export web | tar t | sed 's,/$,,' | grep -vE '^(bin/|proc|sys|dev|lib)' | sort
        docker export web | tar tv | grep -E 'etc/(host|resolv)|env|console' | cut -c1-10
        docker export -o out.tar web; tar xOf out.tar new; docker export nosuch
        docker export web -o /no/such/x
        """,
    ),
    Scenario(
        "commit",
        """
        docker run --name web -e A=1 busybox sh -c 'echo x > /new'
        docker commit -m message -a 'me <me@example.org>' web made:one
        docker run --rm made:one cat /new
        docker inspect -f '{{.Author}}|{{.Comment}}|{{json .Config.Cmd}}|{{json .Config.Env}}' \\
            made:one
        docker commit -c 'CMD ["echo", "hi"]' -c 'ENV B=2' -c 'LABEL l=m' -c 'EXPOSE 80' -c \\
            'WORKDIR /tmp' -c 'USER nobody' web made:two
        docker inspect -f \\
            '{{json .Config.Cmd}} {{json .Config.Env}} {{json .Config.Labels}} {{json .Config.ExposedPorts}} {{.Config.WorkingDir}} {{.Config.User}}' made:two
        docker run --rm made:two; docker commit -c 'NONSENSE x' web; docker commit nosuch
        docker commit web BAD
        docker history --format '{{.CreatedBy}} {{.Size}} {{.Comment}}' made:one
        docker rmi made:one made:two | grep -c .
        """,  # noqa: E501
    ),
    Scenario(
        "port",
        """
        docker run -d --name web -p $PORT:80 -p 127.0.0.1::81/udp --expose 82 busybox sleep \\
            600 >/dev/null
        docker port web | sed 's/:[3-6][0-9]*$/:<random>/' | sort
        for port in 80 80/tcp; do docker port web $port | head -1; done; docker port web 99
        docker port nosuch; docker port web x
        docker ps --format '{{.Ports}}' | sed 's/:[3-6][0-9]*->81/:R->81/'
        docker run -d --name two -p $PORT:80 busybox sleep 600
        docker ps -a --filter name=two --format '{{.Status}}'
        """,
    ),
    Scenario(
        "port-flags",
        """
        docker run --rm -p 99999:80 busybox true; docker run --rm -p a:80 busybox true
        docker run --rm -p 80/xyz busybox true; docker run --rm -p 1.2.3:1:80 busybox true
        docker run --name web -p 80 -p 90-91 busybox true
        docker inspect -f '{{json .HostConfig.PortBindings}} {{json .Config.ExposedPorts}}' web
        """,
    ),
    Scenario(
        "publish-all",
        """
        docker run -d --name web -P --expose 80 --expose 90-91/udp busybox sleep 600 >/dev/null
        docker port web | sed 's/:[0-9]*$/:<random>/' | sort
        """,
    ),
    Scenario(
        "update",
        SLEEPER
        + """
        docker update -m 64m --memory-swap 128m web
        docker inspect -f '{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}' web
        docker exec web cat /sys/fs/cgroup/memory/memory.limit_in_bytes
        docker update --cpus 0.5 --pids-limit 50 --cpu-shares 256 web
        docker inspect -f \\
            '{{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.CpuShares}}' web
        docker update --restart on-failure:3 web
        docker inspect -f '{{json .HostConfig.RestartPolicy}}' web; docker update -m 1k web
        docker update --cpuset-cpus 700 web; docker update nosuch
        docker update --cpus 1 nosuch; docker update; docker update web
        docker update --cpu-quota 5000 web
        """,
    ),
    Scenario(
        "update-stopped",
        """
        docker create --name web busybox cat /sys/fs/cgroup/memory/memory.limit_in_bytes \\
            >/dev/null
        docker update -m 32m --memory-swap -1 web; docker start -a web
        """,
    ),
    Scenario(
        "update-restart-of-rm",
        """
        docker run -d --rm --name web busybox sleep 600 >/dev/null
        docker update --restart always web
        """,
    ),
    Scenario(
        "prune",
        """
        docker create -l keep busybox >/dev/null
        docker create --name web busybox >/dev/null
        docker container prune -f --filter label!=keep; docker ps -aq | wc -l
        docker container prune -f --filter nonsense=1
        docker container prune -f --filter until=1h; docker container prune -f
        """,
    ),
    Scenario(
        "stats",
        SLEEPER
        + """
        docker stats --no-stream --format '{{.Name}} {{.PIDs}}' web
        docker stats --no-stream nosuch; docker create --name new busybox >/dev/null
        docker stats --no-stream --format '{{.Name}} {{.PIDs}} {{.MemUsage}}' new
        """,
    ),
    Scenario(
        "detach-and-reattach",
        """
        docker run -d -it --name web busybox sh >/dev/null
        docker inspect -f \\
            '{{.State.Status}} {{.Config.Tty}} {{.Config.OpenStdin}} {{.Config.StdinOnce}}' web
        """,
    ),
    Scenario("unknown-verb", "docker nosuchverb; docker container nosuchverb"),
)
