"""One cgroup round all sessions: real bounds, really pushed against, and nothing left of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.executors.conftest import LIMITS, all_end, children, descendants, run
from tir_gym.core.interfaces import ExecutorUnavailable, RunStatus
from tir_gym.executors import cgroup
from tir_gym.executors.forkserver import ForkServer

V1 = """30 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
35 31 0:32 {root} /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,cpu,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V2 = "30 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def groups(executor: ForkServer) -> set[Path]:
    """The folders of the cgroups that the fork server is in and its host is not."""
    server = executor._own.server
    assert server is not None
    return groups_of(server.process.pid)


def groups_of(launcher: int) -> set[Path]:
    homes = cgroup.locate(*(Path(f"/proc/self/{name}").read_text() for name in ("mountinfo", "cgroup")))[1]
    inside = Path(f"/proc/{children(launcher)[0]}/cgroup").read_text()
    below = {folder for home in homes for folder in Path(home).glob("tir_gym-*")}
    return {folder for folder in below if folder.name in inside}


@pytest.fixture(scope="module")
def writable() -> None:
    with ForkServer(preload=()).leased() as executor:
        finding = executor.report()["cgroup"]
    if finding != "enforced":
        pytest.skip(f"NO CGROUP: {finding}")


# --- where ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("mounts", "own", "version", "homes"),
    [
        (V1.format(root="/"), "8:pids,cpu:/\n4:memory:/job/1\n0::/", 1, ["memory/job/1", "pids"]),
        (V1.format(root="/job"), "8:pids,cpu:/a b\n4:memory:/job/1\n0::/", 1, ["memory/1", "pids/a b"]),
        (V1.format(root="/job/1"), "8:pids,cpu:/a\n4:memory:/job/1\n0::/", 1, ["memory", "pids/a"]),
        (V2, "0::/user.slice/me", 2, ["user.slice/me"]),
        (V2, "0::/", 2, [""]),
    ],
)
def test_the_groups_of_a_process_are_found(mounts: str, own: str, version: int, homes: list[str]) -> None:
    assert cgroup.locate(mounts, own) == (version, [f"/sys/fs/cgroup/{home}".rstrip("/") for home in homes])


@pytest.mark.parametrize(
    ("mounts", "own"),
    [
        ("", "0::/"),
        (V1.format(root="/other"), "8:pids:/\n4:memory:/job/1\n0::/"),
        (V1.format(root="/"), "8:pids,cpu:/\n0::/"),
    ],
)
def test_where_there_are_none_it_says_so(mounts: str, own: str) -> None:
    with pytest.raises(FileNotFoundError, match="memory and pids"):
        cgroup.locate(mounts, own)


def test_with_version_2_the_next_group_up_that_hands_on_both_controllers_is_taken(tmp_path: Path) -> None:
    home = tmp_path / "slice" / "app" / "scope"
    home.mkdir(parents=True)
    for folder, handed in ((home, ""), (home.parent, "cpu pids"), (home.parent.parent, "cpu memory pids")):
        (folder / "cgroup.subtree_control").write_text(handed)
    assert cgroup._giving(str(home)) == str(tmp_path / "slice")
    (tmp_path / "slice" / "cgroup.subtree_control").write_text("memory")
    with pytest.raises(PermissionError, match="hands on"):
        cgroup._giving(str(home))


# --- what they hold ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("namespaces", [True, False])
def test_sessions_together_cannot_take_more_memory(writable: None, namespaces: bool) -> None:
    with ForkServer(preload=(), namespaces=namespaces, pool_memory_mb=200).leased() as executor:
        small, large = executor.open(LIMITS, 0), executor.open(LIMITS, 1)
        assert run(small, "hoard = b'x' * (50 << 20)").status is RunStatus.OK
        done = run(large, "hoard = b'x' * (180 << 20)")
        assert done.status is RunStatus.KILLED  # twice: at first it might have been the victim of another
        assert "lack of memory" in done.error
        assert run(small, "len(hoard)").value == str(50 << 20)
        assert run(executor.open(LIMITS, 0), "6 * 7").value == "42"  # by the same server


@pytest.mark.parametrize("memory_mb", [8, 14, 24])
def test_too_little_memory_is_refused_with_an_advice_that_works(writable: None, memory_mb: int) -> None:
    with pytest.raises(
        ExecutorUnavailable, match=rf"pool_memory_mb={memory_mb} is too little .* allow \d+ or more"
    ) as told:
        ForkServer(preload=(), pool_memory_mb=memory_mb).acquire()
    enough = int(str(told.value).rsplit("allow ", 1)[1].split()[0])
    with ForkServer(preload=(), pool_memory_mb=enough).leased() as executor:
        sessions = [executor.open(LIMITS, seed) for seed in range(executor.spare + 1)]
        assert [run(session, "6 * 7").value for session in sessions] == ["42"] * len(sessions)


def test_sessions_together_cannot_start_more_tasks(writable: None) -> None:
    with ForkServer(preload=(), pool_tasks=24).leased() as executor:
        sessions = [executor.open(LIMITS, seed) for seed in range(40)]
        ends = [run(session, "6 * 7") for session in sessions]
        alive = [done for done in ends if done.status is RunStatus.OK]
        assert 10 < len(alive) < 24
        refused = [done for done in ends if done.status is RunStatus.EXECUTOR_ERROR]
        assert len(refused) == 40 - len(alive)
        assert all("cannot fork" in done.error for done in refused)
        threads = "import threading, time\nfor _ in range(16): threading.Thread(target=time.sleep, args=(9,)).start()"
        assert "can't start new thread" in run(sessions[0], threads).error
        assert subprocess.run(["true"]).returncode == 0  # the host has its own
        for session in sessions[1:]:
            session.close()


def test_bounds_are_half_of_what_the_host_has(writable: None) -> None:
    with ForkServer(preload=()).leased() as executor:
        total = int(Path("/proc/meminfo").read_text().split()[1]) << 10
        most = int(Path("/proc/sys/kernel/pid_max").read_text())
        names = {"memory.limit_in_bytes": total // 2, "memory.max": total // 2, "pids.max": most // 2}
        files = [folder / name for folder in groups(executor) for name in names if (folder / name).exists()]
        found = {path.name: int(path.read_text()) for path in files}
        assert len(found) == 2
        assert all(0 < value <= names[name] for name, value in found.items())


# --- and what is left -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("namespaces", [True, False])
def test_the_groups_end_with_the_last_lease(writable: None, namespaces: bool) -> None:
    with ForkServer(preload=(), namespaces=namespaces).leased() as executor:
        run(executor.open(LIMITS, 0), "1")
        made = groups(executor)
        assert made
    assert not [folder for folder in made if folder.exists()]


HOST = """
import sys
from tests.executors.conftest import LIMITS, run
from tir_gym.executors.forkserver import ForkServer
executor = ForkServer(preload=(), namespaces=sys.argv[1] == "True").acquire()
run(executor.open(LIMITS, 0), "1")
print(executor._own.server.process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("namespaces", [True, False])
def test_killing_the_host_leaves_none(writable: None, namespaces: bool) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOST, str(namespaces)], stdin=pipe, stdout=pipe) as host:
        assert host.stdout is not None
        launcher = int(host.stdout.readline())
        below, made = descendants(host.pid), groups_of(launcher)
        assert made
        host.kill()
        assert all_end(below)
        assert not [folder for folder in made if folder.exists()]


def test_what_a_killed_launcher_left_is_removed_by_the_next(writable: None) -> None:
    with ForkServer(preload=()).leased() as executor, ForkServer(preload=()).leased() as other:
        made, living = groups(executor), groups(other)
        server = executor._own.server
        assert server is not None
        below = descendants(server.process.pid)
        os.kill(server.process.pid, signal.SIGKILL)
        assert all_end(below)
        assert all(folder.exists() for folder in made)
        with ForkServer(preload=(), pool_tasks=500).leased():
            assert not [folder for folder in made if folder.exists()]
            assert all(folder.exists() for folder in living)
            assert run(other.open(LIMITS, 0), "6 * 7").value == "42"
