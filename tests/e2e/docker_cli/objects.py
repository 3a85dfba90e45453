"""Copies, images, volumes and networks."""

from tests.support.parity import Scenario

SLEEPER = "docker run -d --name web busybox sleep 600 >/dev/null\n"

SCENARIOS = (
    Scenario(
        "cp-to-container",
        SLEEPER
        + """
        mkdir -p d/e; echo one > f; echo two > d/e/g; ln -s g d/e/link; chmod 640 f
        docker cp f web:/tmp; docker cp f web:/tmp/renamed; docker cp f web:/tmp/
        docker cp -q d web:/tmp; docker cp d/. web:/root/; docker cp d web:/made
        docker exec web sh -c \\
            'cat /tmp/f /tmp/renamed /tmp/d/e/g /root/e/g /made/e/link; stat -c %a /tmp/f; ls -l /made/e | grep -c link'
        docker cp f web:/no/such/dir; docker cp f web:/tmp/f/x; docker cp d web:/tmp/f
        docker cp f web:/nodir/; docker cp nosuch web:/tmp; docker cp f nosuch:/tmp
        docker cp f f2; docker cp web:/a web:/b
        """,  # noqa: E501
    ),
    Scenario(
        "cp-from-container",
        """
        docker run --name web busybox sh -c \\
            'mkdir -p /d/e; echo one > /f; echo two > /d/e/g; ln -s /f /abs; ln -s e /d/rel; ln -s /nowhere /bad' >/dev/null
        docker cp web:/f .; docker cp web:/f renamed; docker cp web:/d .
        docker cp web:/d/. flat; mkdir into; docker cp web:/d into
        cat f renamed d/e/g flat/e/g into/d/e/g; ls -l d | grep -c 'rel -> e'
        docker cp web:/abs link; test -L link && readlink link
        docker cp -L web:/abs followed; cat followed; docker cp web:/d/rel/g g; cat g
        docker cp web:/f no/such/dir; docker cp web:/nosuch .; docker cp nosuch:/f .
        docker cp web:/f f/x; docker cp web:/d f; docker cp -L web:/bad .
        """,  # noqa: E501
    ),
    Scenario(
        "cp-tar-streams",
        """
        docker create --name web busybox >/dev/null; mkdir d; echo in > d/f
        docker cp web:/etc/group - | tar t; docker cp web:/etc/network - | tar t | sort | head -3
        tar c d | docker cp - web:/tmp; docker cp web:/tmp/d/f - | tar xO
        tar c d | docker cp - web:/nosuch; tar c d | docker cp - web:/etc/group
        docker cp - - </dev/null; docker cp -a d web:/root; docker cp web:/root/d/f - | tar xO
        """,
    ),
    Scenario(
        "cp-volumes-and-read-only",
        """
        docker create --name web -v data:/v --tmpfs /t --read-only busybox >/dev/null
        echo x > f; docker cp f web:/v/f; docker run --rm -v data:/v busybox cat /v/f
        docker cp web:/v/f - | tar xO; docker cp f web:/etc/f
        docker create --name ro -v data:/v:ro busybox >/dev/null; docker cp f ro:/v/g
        """,
    ),
    Scenario(
        "cp-owner",
        SLEEPER
        + """
        echo x > f; docker cp f web:/root/f; docker exec web stat -c '%u:%g %a' /root/f
        docker exec web sh -c 'echo y > /tmp/n; chown 7:8 /tmp/n'; docker cp -a web:/tmp/n n
        stat -c '%u:%g' n; docker cp web:/tmp/n m; stat -c '%u:%g' m
        """,
    ),
    Scenario(
        "images",
        """
        docker tag busybox other:one
        docker images --format '{{.Repository}}:{{.Tag}} {{.Size}}' | sort
        docker images -q busybox; docker images 'oth*' --format '{{.Repository}}'
        docker images nosuch; docker images --filter reference='other:*' --format '{{.Tag}}'
        docker images --digests --format '{{.Digest}}'; docker images --filter nonsense=1
        docker images --filter dangling=true -q; docker rmi other:one
        """,
    ),
    Scenario(
        "tag",
        """
        docker tag busybox new; docker tag busybox:latest new:two; docker tag nosuch x
        docker tag busybox BAD; docker tag busybox a:b:c
        docker tag busybox localhost:5000/a/b:c
        docker images --format '{{.Repository}}:{{.Tag}}' | sort
        docker rmi new new:two localhost:5000/a/b:c
        """,
    ),
    Scenario(
        "rmi",
        """
        docker tag busybox new; docker create --name web new >/dev/null; docker rmi new
        docker tag busybox new; docker rmi nosuch; docker rmi -f nosuch; docker rmi
        docker rmi new nosuch
        """,
    ),
    Scenario(
        "rmi-in-use",
        SLEEPER
        + """
        docker rmi busybox; docker rmi $(docker images -q busybox) 2>&1
        docker images -q busybox | wc -l
        """,
    ),
    Scenario(
        "image-inspect",
        """
        docker inspect -f \\
            '{{json .RepoTags}} {{.Os}} {{.Architecture}} {{json .Config.Cmd}} {{json .Config.Env}} {{.RootFS.Type}} {{len .RootFS.Layers}} {{.Author}} {{.Comment}}' busybox
        """,  # noqa: E501
    ),
    Scenario(
        "history",
        """
        docker history --no-trunc --format '{{.CreatedBy}}|{{.Size}}|{{.Comment}}' busybox
        docker history -q busybox | wc -l; docker history nosuch
        """,
    ),
    Scenario(
        "save",
        """
        docker tag busybox new:one; docker save -o out.tar new:one
        tar xOf out.tar manifest.json | grep -c new:one; docker save; docker rmi new:one
        """,
    ),
    Scenario(
        "save-and-load",
        """
        docker tag busybox kept:one; docker save -o out.tar kept:one; docker rmi kept:one
        docker load -i out.tar; docker run --rm kept:one echo works
        docker load -q < out.tar; docker rmi kept:one; docker load -i nowhere
        """,
    ),
    Scenario(
        "import",
        """
        mkdir -p r/bin; cp /bin/busybox r/bin/sh
        tar c -C r . | docker import -c 'CMD ["/bin/sh", "-c", "echo imported"]' -m note - \\
            imp:one
        docker run --rm imp:one
        docker inspect -f '{{.Comment}} {{json .Config.Cmd}}' imp:one
        docker history --format '{{.Comment}}' imp:one; docker rmi imp:one | wc -l
        tar c r | docker import - BAD
        """,
    ),
    Scenario(
        "image-prune",
        """
        docker tag busybox keep:one; docker image prune -f
        docker image prune -af --filter label=nosuch; docker images -q keep:one | wc -l
        docker rmi keep:one; docker image prune -f --filter nonsense=1
        """,
    ),
    Scenario(
        "image-events",
        """
        from=$(date +%s.%N); docker tag busybox ev:one; docker rmi ev:one
        docker events --since $from --until $(($(date +%s) + 1)) --filter type=image --format \\
            '{{.Action}} {{.Actor.Attributes.name}}'
        """,
    ),
    Scenario(
        "volume-create",
        """
        docker volume create data; docker volume create data; docker volume create | wc -c
        docker volume create x; docker volume create 'a b'
        docker volume create --label a=b lab
        docker volume inspect -f \\
            '{{.Name}} {{.Driver}} {{.Scope}} {{json .Labels}} {{json .Options}}' lab data
        docker volume create -o nonsense=1 bad
        """,
    ),
    Scenario(
        "volume-ls",
        """
        docker volume create -q one 2>/dev/null; docker volume create one >/dev/null
        docker volume create --label a=b two >/dev/null
        docker run --name web -v used:/d busybox true; docker volume ls
        docker volume ls -q --filter dangling=true
        docker volume ls -q --filter dangling=false; docker volume ls -q --filter label=a=b
        docker volume ls -q --filter name=on; docker volume ls -q --filter driver=local
        docker volume ls --filter nonsense=1
        docker volume ls --format '{{.Name}} {{.Driver}} {{.Labels}} {{.Scope}}'
        """,
    ),
    Scenario(
        "volume-rm",
        """
        docker volume create data >/dev/null
        docker create --name web -v data:/d busybox >/dev/null; docker volume rm data
        docker rm web; docker volume rm data; docker volume rm data
        docker volume rm -f data; docker volume rm; docker volume inspect data
        docker volume create one; docker volume rm one nosuch
        """,
    ),
    Scenario(
        "volume-prune",
        """
        docker volume create one >/dev/null
        docker run --name web -v /anon -v used:/d busybox true
        docker volume prune -f --filter nonsense=1
        """,
    ),
    Scenario(
        "network-ls",
        """
        docker network ls --format '{{.Name}} {{.Driver}} {{.Scope}}'
        docker network ls -q | wc -l
        docker network ls --filter driver=host --format '{{.Name}}'
        docker network ls --filter name=on --format '{{.Name}}'
        docker network ls --filter type=builtin --format '{{.Name}}'
        docker network ls --filter nonsense=1; docker network ls --filter dangling=true -q
        """,
    ),
    Scenario(
        "network-inspect",
        SLEEPER
        + """
        docker network inspect -f \\
            '{{.Name}} {{.Driver}} {{.Scope}} {{.Internal}} {{.Attachable}} {{.Ingress}} {{.IPAM.Driver}} {{len .Containers}}' bridge
        docker network inspect -f '{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}' \\
            bridge
        docker network inspect nosuch; docker network inspect
        """,  # noqa: E501
    ),
    Scenario(
        "network-rm-predefined",
        """
        docker network rm bridge; docker network rm host; docker network rm nosuch
        docker network rm; docker network create bridge; docker network create none
        """,
    ),
)
