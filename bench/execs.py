"""`exec` of true in a running container over the API: create, start, read to the end, inspect.

python bench/execs.py [runs]
"""

from __future__ import annotations

from functools import partial

from bench._pair import Client, both, compare, paired, report, runs_from_arguments


def execute(client: Client, container: str) -> None:
    body = {"Cmd": ["true"], "AttachStdout": True, "AttachStderr": True}
    made = client("POST", f"/containers/{container}/exec", body)
    client("POST", f"/exec/{made['Id']}/start", {"Detach": False})
    state = client("GET", f"/exec/{made['Id']}/json")
    assert state["ExitCode"] == 0, state


def main() -> None:
    runs = runs_from_arguments(20)
    with both() as engines:
        sides = {}
        for name, engine in engines.items():
            client = Client(engine)
            sides[name] = partial(execute, Client(engine), client.run("sleep", "9999"))
        samples = paired(sides, runs, warm_up=2)
    report("execs", [compare("exec true over the API", "ms", samples, target=0.3, scale=1e3)])


if __name__ == "__main__":
    main()
