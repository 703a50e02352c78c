"""What is particular to one executor: clean-up after crashes, the pool, images, retries, warnings."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.executors.conftest import LIMITS, PATIENCE, all_end, children, descendants, run
from tests.executors.engine import IMAGE
from tests.executors.fusion import FusionServer
from tir_gym.core.interfaces import Executor, ExecutorUnavailable, RunStatus
from tir_gym.envs.registration import default_executor
from tir_gym.executors.bwrap import BwrapExecutor
from tir_gym.executors.docker import LABEL, DockerExecutor, build
from tir_gym.executors.forkserver import ForkServer
from tir_gym.executors.process import wait_readable
from tir_gym.executors.remote import SandboxFusion
from tir_gym.executors.unsafe import UnsafeExecutorWarning, UnsafeSubprocess

HOST = """
import sys, warnings
from tests.executors.conftest import LIMITS, run
from {module} import {name}
warnings.simplefilter("ignore")
executor = {name}{arguments}
executor.acquire()
sessions = [executor.open(LIMITS, seed) for seed in range(2)]
run(sessions[0], "1")
sessions[1].submit("while True: pass", 600.0)
print("up", flush=True)
sys.stdin.read()
"""

SURROUNDINGS = """
import json, os
lines = [line.split(":", 1) for line in open("/proc/1/status")]
status = {key: value.strip() for key, value in lines if key in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}
cards = [line.split(":")[0].strip() for line in open("/proc/self/net/dev") if ":" in line]
folders = (folder for folder, _, _ in os.walk("/") if not folder.startswith("/proc"))
print(json.dumps([status, cards, sorted(folder for folder in folders if os.access(folder, os.W_OK))]))
"""
"""What a container is to what runs in it, before Landlock and seccomp of ours: rights, network, where it may write."""


def crash(executor: str, arguments: str) -> list[int]:
    """Let a host process with two sessions be killed; the processes it had started."""
    program = HOST.format(module=f"tir_gym.executors.{executor}", name=arguments.partition("(")[0], arguments="")
    program = program.replace(f"executor = {arguments.partition('(')[0]}", f"executor = {arguments}")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == b"up\n"
        started = descendants(host.pid)
        host.kill()
    return started


@pytest.fixture
def bwrap() -> None:
    try:
        BwrapExecutor(()).acquire().release()
    except ExecutorUnavailable as error:
        pytest.skip(f"NO BUBBLEWRAP: {error}")


@pytest.fixture(params=["docker_url", pytest.param("podman_url", marks=pytest.mark.soak)])
def engine_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def client(engine_url: str) -> Iterator[Any]:
    import docker

    opened = docker.APIClient(base_url=engine_url, version="auto")
    yield opened
    opened.close()


# --- crashes of the host ----------------------------------------------------------------------------------------------
def test_a_killed_host_leaves_no_bubblewrap(bwrap: None) -> None:
    started = crash("bwrap", "BwrapExecutor(())")
    assert started
    assert all_end(started)


def test_a_killed_host_leaves_no_bare_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    started = crash("unsafe", "UnsafeSubprocess(spare=0)")
    assert started
    assert all_end(started)
    assert list(tmp_path.iterdir()) == []  # but for a spare that has not been told of its folder yet


def test_the_containers_of_a_killed_host_end_by_themselves(engine_url: str, client: Any) -> None:
    crash("docker", f"DockerExecutor({IMAGE!r}, (), url={engine_url!r})")
    until = time.monotonic() + PATIENCE
    while client.containers(filters={"label": LABEL}):
        assert time.monotonic() < until
    DockerExecutor(IMAGE, (), url=engine_url).acquire().release()  # one that was made, but not yet started
    assert client.containers(all=True, filters={"label": LABEL}) == []


def test_containers_of_dead_hosts_are_removed_and_no_others(engine_url: str, client: Any) -> None:
    executor = DockerExecutor(IMAGE, (), url=engine_url)
    with executor.leased():
        session = executor.open(LIMITS, 0)
        assert run(session, "1").value == "1"
        mine = client.containers(filters={"label": LABEL})[0]["Labels"][LABEL].split()
    dead = subprocess.Popen(["true"])
    dead.wait()
    owners = {
        "dead": [*mine[:2], str(dead.pid), "1"],
        "another that took its number": [*mine[:3], "1"],
        "alive": mine,
        "another machine": ["boot", *mine[1:]],
        "another namespace": [mine[0], "1", *mine[2:]],
    }
    made = {
        name: client.create_container(IMAGE, ["sleep", "600"], labels={LABEL: " ".join(owner)})["Id"]
        for name, owner in owners.items()
    }
    with executor.leased():
        left = {found["Id"] for found in client.containers(all=True, filters={"label": LABEL})}
        assert {name for name, key in made.items() if key in left} == {"alive", "another machine", "another namespace"}
    for name in ("alive", "another machine", "another namespace"):
        client.remove_container(made[name])


# --- containers -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("engine_url", ["docker_url", "podman_url"], indirect=True)
def test_a_container_is_confined_as_configured(engine_url: str, client: Any) -> None:
    with DockerExecutor(IMAGE, (), url=engine_url).leased() as executor:
        session = executor.open(LIMITS, 0)
        known = [client.inspect_container(c["Id"]) for c in client.containers(filters={"label": LABEL})]
        host = next(k["HostConfig"] for k in known if k["HostConfig"]["PidsLimit"] == LIMITS.processes + 2)
        assert (host["NetworkMode"], host["ReadonlyRootfs"]) == ("none", True)
        assert host["Memory"] == host["MemorySwap"] > LIMITS.memory_mb << 20
        assert (host["LogConfig"]["Type"], host["AutoRemove"], host["Privileged"]) == ("none", True, False)
        assert known[0]["Config"]["User"] == "65534:65534"
        shown = client.exec_create(session.held._name, ["python3", "-c", SURROUNDINGS])  # type: ignore[attr-defined]
        confined = {"CapBnd": "0000000000000000", "CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}
        assert json.loads(client.exec_start(shown)) == [confined, ["lo"], ["/box/work", "/dev/mqueue"]]


def test_killing_a_container_from_outside_loses_the_session_only(engine_url: str, client: Any) -> None:
    with DockerExecutor(IMAGE, (), spare=0, url=engine_url).leased() as executor:
        session = executor.open(LIMITS, 0)
        assert run(session, "1").value == "1"
        (found,) = client.containers(filters={"label": LABEL})
        client.kill(found["Id"])
        done = run(session, "2")
        assert (done.status, done.state_lost) == (RunStatus.KILLED, True)
        assert run(executor.open(LIMITS, 0), "3").value == "3"


def test_a_spare_that_died_is_not_handed_out(engine_url: str, client: Any) -> None:
    with DockerExecutor(IMAGE, (), url=engine_url).leased() as executor:
        assert run(executor.open(LIMITS, 0), "1").value == "1"
        spare = executor._own.spares[0].result()
        for found in client.containers(filters={"label": LABEL}):
            client.kill(found["Id"])
        assert wait_readable(spare.channel.fileno(), time.monotonic() + PATIENCE)
        assert run(executor.open(LIMITS, 0), "2").value == "2"
    assert client.containers(all=True, filters={"label": LABEL}) == []


def test_the_shipped_dockerfile_builds_an_image_that_works(engine_url: str, client: Any) -> None:
    build(client, "tir-gym-test:built", BASE=IMAGE, PACKAGES="")
    with DockerExecutor("tir-gym-test:built", ("numpy",), url=engine_url).leased() as executor:
        assert run(executor.open(LIMITS, 0), "import numpy; int(numpy.ones(3).sum())").value == "3"


@pytest.mark.parametrize(
    ("image", "preload", "reason"),
    [("tir-gym-test:nothing", (), "pull or build it"), (IMAGE, ("no_such_package",), "no_such_package")],
)
def test_an_image_that_will_not_do_is_refused(
    engine_url: str, client: Any, image: str, preload: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(ExecutorUnavailable, match=reason):
        DockerExecutor(image, preload, url=engine_url).acquire()
    assert client.containers(all=True, filters={"label": LABEL}) == []


def test_without_an_engine_it_says_so() -> None:
    pytest.importorskip("docker")
    with pytest.raises(ExecutorUnavailable, match="no container engine"):
        DockerExecutor(IMAGE, url="unix:///nonexistent/socket").acquire()


# --- bubblewrap and bare processes ------------------------------------------------------------------------------------
def test_without_bubblewrap_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ExecutorUnavailable, match="install bubblewrap"):
        BwrapExecutor(()).acquire()


@pytest.mark.parametrize(("lacking", "told"), [("landlock", "A-"), ("seccomp", "tier C, and min_tier is B")])
def test_bubblewrap_is_judged_by_what_attacks_show(bwrap: None, lacking: str, told: str) -> None:
    program = "from tir_gym.executors.bwrap import BwrapExecutor\nexecutor = BwrapExecutor(())\n"
    program += "try:\n    print(executor.acquire().tier)\nexcept RuntimeError as error:\n    print(error)"
    command = [sys.executable, "-m", "tests.executors.lacking", lacking, sys.executable, "-c", program]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert told in said


def test_a_container_is_no_more_than_a_container(engine_url: str) -> None:
    with pytest.raises(ExecutorUnavailable, match="tier C at most"):
        DockerExecutor(IMAGE, (), url=engine_url, min_tier="B").acquire()


def test_a_bare_process_warns_whoever_asks_for_it() -> None:
    with pytest.warns(UnsafeExecutorWarning, match="rights of this process"):
        UnsafeSubprocess()
    assert issubclass(UnsafeExecutorWarning, UserWarning)


def test_nobody_gets_a_bare_process_unasked() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnsafeExecutorWarning)
        assert isinstance(default_executor(), ForkServer)


def test_orphans_of_a_bare_session_end_with_it() -> None:
    with pytest.warns(UnsafeExecutorWarning):
        executor = UnsafeSubprocess()
    with executor.leased():
        session = executor.open(LIMITS, 0)
        code = "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True).pid"
        orphan = int(run(session, code).value)
        session.close()
        assert all_end([orphan])


def test_a_forked_host_leaves_its_parents_sessions_alone(bwrap: None) -> None:
    with BwrapExecutor(()).leased() as executor:
        session = executor.open(LIMITS, 0)
        assert run(session, "n = 1").status is RunStatus.OK
        pid = os.fork()
        if pid == 0:
            os._exit(0 if session.fileno() == -1 else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert run(session, "n").value == "1"


def test_a_keeper_that_is_killed_costs_its_session_only(bwrap: None) -> None:
    with BwrapExecutor((), spare=0).leased() as executor:
        session = executor.open(LIMITS, 0)
        assert run(session, "1").value == "1"
        (keeper,) = children(session.held.process.pid)  # type: ignore[attr-defined]
        os.kill(keeper, signal.SIGKILL)
        assert wait_readable(session.fileno(), time.monotonic() + PATIENCE)
        done = run(session, "2")
        assert (done.status, done.state_lost) == (RunStatus.KILLED, True)


# --- a server elsewhere -----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def fusion() -> Iterator[FusionServer]:
    with ForkServer(()).leased() as behind:
        server = FusionServer(behind)
        yield server
        server.close()


def test_a_request_that_failed_is_sent_again(fusion: FusionServer) -> None:
    session = SandboxFusion(fusion.url).open(LIMITS, 0)
    fusion.requests.clear()
    fusion.faults[:] = [503, "drop"]
    assert run(session, "6 * 7").value == "42"
    assert len(fusion.requests) == 3


@pytest.mark.parametrize(("faults", "sent"), [([503, 503], 2), ([400], 1)])
def test_a_server_that_keeps_failing_is_an_executor_error(fusion: FusionServer, faults: list[Any], sent: int) -> None:
    session = SandboxFusion(fusion.url, retries=1).open(LIMITS, 0)
    fusion.requests.clear()
    fusion.faults[:] = faults
    done = run(session, "6 * 7")
    assert (done.status, done.state_lost) == (RunStatus.EXECUTOR_ERROR, True)
    assert str(faults[0]) in done.error
    assert len(fusion.requests) == sent


def test_answers_that_make_no_sense_are_executor_errors(fusion: FusionServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for nonsense in ([], {}, {"status": "SandboxError", "message": "full"}, {"run_result": 5}):
        monkeypatch.setattr(fusion, "answer", lambda asked, nonsense=nonsense: nonsense)
        done = run(SandboxFusion(fusion.url, retries=0).open(LIMITS, 0), "1")
        assert done.status is RunStatus.EXECUTOR_ERROR, nonsense


def test_the_limits_and_headers_are_sent(fusion: FusionServer) -> None:
    run(SandboxFusion(fusion.url).open(LIMITS, 0), "1", 7.5)
    asked = fusion.requests[-1]
    assert (asked["run_timeout"], asked["memory_limit_MB"]) == (7.5, LIMITS.memory_mb)


def test_no_server_is_no_executor() -> None:
    executor: Executor = SandboxFusion("http://127.0.0.1:9", retries=0)
    with pytest.raises(ExecutorUnavailable, match="no SandboxFusion server"):
        executor.acquire()
    with pytest.raises(ValueError, match="http"):
        SandboxFusion("localhost:8080")
