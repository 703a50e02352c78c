"""A host worth attacking, the attack, and the verdict: judged by what the host sees, whatever the session says."""

import contextlib
import functools
import json
import os
import re
import resource
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.executors.conftest import PATIENCE, STERN, Tool, all_end, finish, run
from tests.executors.engine import IMAGE
from tests.executors.hostile.program import PRELUDE, WON, Program
from tests.executors.hostile.programs import PROGRAMS
from tests.processes import descendants
from tir_gym.core.interfaces import Done, Executor, ForkError, HostCall, RunStatus, Session
from tir_gym.executors.bwrap import BwrapExecutor
from tir_gym.executors.docker import LABEL, DockerExecutor
from tir_gym.executors.forkserver import ForkServer
from tir_gym.executors.frames import MAX_ARGUMENTS

GOLD = Path(__file__).with_name("gold.json")
MEMORY_MB, TASKS, DISK, INODES = 600, 250, 64 << 20, 10_000
"""What is far beyond `STERN`, the fork server's own size included."""


def secret(kind: str) -> str:
    return f"canary-{kind}-{os.urandom(8).hex()}"


TIERS = ("namespaces", "no namespaces")
"""Of the fork server."""
OTHERS = ("bwrap", "docker")
"""Executors without live copies."""


@dataclass
class World:
    """A host with secrets, listeners, a process to kill and a neighbour at work."""

    executor: Executor
    folder: Path
    processes: Callable[[], set[int]]
    """All that sessions may have started."""
    patience: float
    """Seconds that processes have to end."""
    names: dict[str, str]
    secrets: dict[str, str]
    listeners: list[socket.socket]
    witness: "subprocess.Popen[bytes]"
    neighbour: Session
    secret: tuple[str, int, int]
    """Content, mode and time of the file `secret`."""
    tier: str = ""
    """As `Program.weak` and the matrix name it."""
    clean: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def fill(self, code: str) -> str:
        return re.sub(r"\b[A-Z]{4,}\b", lambda found: self.names.get(found[0], found[0]), code)


@dataclass(frozen=True)
class Verdict:
    """`harms`: letters of `HARMS`, "" where contained. `done` is None where no copy came to attack from."""

    harms: str
    done: Done | None


@contextlib.contextmanager
def planted(executor: Executor, folder: Path, processes: Callable[[], set[int]], patience: float) -> Iterator[World]:
    """A world for `executor`, which must be leased; `folder` must be there for others to enter."""
    kept = {kind: secret(kind) for kind in ("file", "env", "heap", "open", "mine", "left")}
    plant_secret(folder, kept["file"])
    (folder / "open").write_text(kept["open"])
    (folder / "open").chmod(0o600)
    os.environ["TIR_GYM_HOSTILE_KEY"] = kept["env"]
    with contextlib.ExitStack() as stack:
        stack.callback(os.environ.pop, "TIR_GYM_HOSTILE_KEY", None)
        held = stack.enter_context((folder / "open").open())
        inet, inet6 = (socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)
        path, letters = (socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_DGRAM)
        hidden = f"tir_gym-{os.urandom(6).hex()}"
        places = ("127.0.0.1", 0), ("127.0.0.1", 0), str(folder / "unix"), str(folder / "letters"), f"\0{hidden}"
        listeners = []
        for kind, place in zip((inet, inet6, path, letters, path), places, strict=True):
            listener = stack.enter_context(socket.socket(*kind))
            listener.bind(place)
            listener.setblocking(False)
            if kind[1] is socket.SOCK_STREAM:
                listener.listen()
            listeners.append(listener)
        for name in ("unix", "letters"):
            (folder / name).chmod(0o777)
        witness = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        stack.callback(witness.wait)
        stack.callback(witness.kill)
        assert witness.stdin
        stack.callback(witness.stdin.close)
        neighbour = executor.open(STERN, 0)
        stack.callback(neighbour.close)
        assert run(neighbour, f"mine = {kept['mine']!r}\nopen('mine', 'w').write(mine)").status is RunStatus.OK
        names = {
            "SECRET": str(folder / "secret"),
            "FOLDER": str(folder),
            "PORT": str(listeners[0].getsockname()[1]),
            "DATAGRAMS": str(listeners[1].getsockname()[1]),
            "UNIX": str(folder / "unix"),
            "LETTERS": str(folder / "letters"),
            "ABSTRACT": hidden,
            "HOST": str(os.getpid()),
            "WITNESS": str(witness.pid),
            "SOURCE": str(Path(__file__).resolve()),
            "GOLD": str(GOLD),
            "LEFT": kept["left"],
            "HELD": str(held.fileno()),
        }
        kept["gold"] = "canary-gold-5eed5eed5eed5eed"
        yield World(
            executor, folder, processes, patience, names, kept, listeners, witness, neighbour, _shape(folder / "secret")
        )


@contextlib.contextmanager
def worlds(tier: str, folder: Path, engine_url: str = "") -> Iterator[World]:
    """A world round an executor of its own, one of `TIERS` or `OTHERS`; opens `folder` to all.

    The world's tier is what the machine has. Raises `ExecutorUnavailable`.
    """
    for path in (folder, *folder.parents):
        if path.is_relative_to(tempfile.gettempdir()) and path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o055)
    executor: ForkServer | BwrapExecutor | DockerExecutor
    processes = descendants
    if tier == "bwrap":
        executor = BwrapExecutor(("numpy",), spare=0)
    elif tier == "docker":
        executor = DockerExecutor(IMAGE, ("numpy",), spare=0, url=engine_url)
        processes = functools.partial(_in_containers, executor)
    else:
        executor = ForkServer(preload=("numpy",), namespaces=tier == TIERS[0], spare=0)
    with executor.leased(), planted(executor, folder, processes, PATIENCE) as world:
        found = TIERS[executor.report()["namespaces"] != "enforced"] if tier in TIERS else tier
        world.tier = found if os.geteuid() == 0 else f"unprivileged {found}"
        yield world


def _in_containers(executor: DockerExecutor) -> set[int]:
    """The processes of all sessions in containers."""
    engine, found = executor._own.engine, set[int]()
    for container in engine.containers(filters={"label": LABEL}):
        with contextlib.suppress(OSError, LookupError):  # it ends just now
            if pid := engine.inspect_container(container["Id"])["State"]["Pid"]:
                found |= {pid, *descendants(pid)}
    return found


def attack(world: World, program: Program) -> Verdict:
    """Run `program` in a session of its own, look at the world, and end what it left."""
    harms: set[str] = set()
    with contextlib.ExitStack() as opened:

        def new() -> Session:
            fresh = world.executor.open(STERN, 1, [Tool("ask", ("text",))])
            opened.callback(fresh.close)
            return fresh

        if program.earlier:
            first = new()
            run(first, world.fill(PRELUDE + program.earlier))
            first.close()
        if program.next not in world.clean:
            world.clean[program.next] = _next(world, program)
        before, disk, shared = world.processes(), _disk(world), _shared_mb()
        attacker = new()
        assert run(attacker, PRELUDE).status is RunStatus.OK
        victim, mine = None, secret("kin")
        try:
            for generation in range(program.generation):
                if generation:
                    attacker = attacker.fork()
                    opened.callback(attacker.close)
                if program.before:
                    run(attacker, world.fill(program.before))
            if program.cast:
                copy = attacker.fork()
                opened.callback(copy.close)
                if program.cast == "sibling":
                    attacker, victim = attacker.fork(), copy
                    opened.callback(attacker.close)
                else:
                    attacker, victim = (copy, attacker) if program.cast == "copy" else (attacker, copy)
                plant = program.plant.replace("MINE", repr(mine))
                run(victim, f"kin = {mine!r}\nopen('kin', 'w').write(kin)\n{plant}")
        except ForkError:
            return Verdict(_look(world, harms), None)
        attacker.submit(world.fill(program.code), program.deadline)
        done = finish(attacker, functools.partial(_echo, harms))
        if program.section == "files in and out" and not done.state_lost:
            harms |= _exchange(world, attacker)
        text = done.stdout + done.stderr + done.value + done.error + done.traceback
        harms |= {"F"} if len(text) >= 6 * STERN.output_chars else set()
        harms |= {"A"} if WON in text else set()
        harms |= {"L"} if any(kept in text for kept in (*world.secrets.values(), mine)) else set()
        started = world.processes() - before
        tasks, peak = _tasks_and_peak(started)
        harms |= {"P"} if tasks > TASKS else set()
        harms |= {"M"} if peak > MEMORY_MB or (program.section == "memory" and _shared_mb() - shared > 400) else set()
        harms |= {"D"} if program.section == "disk" and _grew(disk, _disk(world)) else set()
        if not done.state_lost:
            run(attacker, "6 * 7", 1.0)  # whatever it answers: it has broken nobody's interpreter but its own
        if victim is not None:
            seen = run(victim, "kin, open('kin').read()")
            harms |= {"S"} if seen.value != f"({mine!r}, {mine!r})" else set()
        attacker.close()
    if not all_end(sorted(started), world.patience):
        harms.add("O")
    if program.section != "disk" or not harms & {"D"}:
        after = _next(world, program)
        harms |= {"B"} if after != world.clean[program.next] else set()
    return Verdict(_look(world, harms), done)


def _echo(harms: set[str], call: HostCall) -> Any:
    """The tool `ask`, as the trainer has it."""
    text = call.arguments["text"]
    harms |= {"F"} if len(json.dumps(text, allow_nan=False)) > 10 * STERN.output_chars + MAX_ARGUMENTS else set()
    return text


def _exchange(world: World, session: Session) -> set[str]:
    """Take a file from a session and give it one."""
    found = b""
    with contextlib.suppress(FileNotFoundError, ValueError, RuntimeError):
        found = session.get("out")
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        session.put("in/secret", b"from the trainer")
    return {"L"} if any(kept.encode() in found for kept in world.secrets.values()) else set()


def judge(world: World, name: str) -> str:
    """The harms of one program, "!" where it ended as it must not, "-" where there are no copies for it to attack."""
    program = PROGRAMS[name]
    if program.cast and not isinstance(world.executor, ForkServer):
        return "-"
    verdict = attack(world, program)
    return verdict.harms or "!" * (verdict.done is not None and not program.then(verdict.done))


def _next(world: World, program: Program) -> tuple[str, ...]:
    session = world.executor.open(STERN, 2)
    done = run(session, program.next)
    session.close()
    return done.status, done.value, done.stdout, done.stderr, done.error


def _look(world: World, harms: set[str]) -> str:
    """Add what the world shows to `harms`."""
    mine = world.secrets["mine"]
    if run(world.neighbour, "mine, open('mine').read()").value != f"({mine!r}, {mine!r})":
        harms.add("S")
    if world.witness.poll() is not None or _state(world.witness.pid) == "T":
        harms.add("S")
    if _shape(world.folder / "secret") != world.secret:
        harms.add("W")
        plant_secret(world.folder, world.secrets["file"])
        world.secret = _shape(world.folder / "secret")
    for listener in world.listeners:
        with contextlib.suppress(BlockingIOError):
            if listener.type is socket.SOCK_STREAM:
                listener.accept()[0].close()
            else:
                listener.recv(100)
            harms.add("N")
    return "".join(sorted(harms))


def plant_secret(folder: Path, text: str) -> None:
    """Write a file that every user may read and change."""
    (folder / "secret").unlink(missing_ok=True)
    (folder / "secret").write_text(text)
    (folder / "secret").chmod(0o666)


def _shape(path: Path) -> tuple[str, int, int]:
    """What a file holds, its mode and the time of its last change."""
    try:
        found = path.stat()
        return path.read_text(), found.st_mode, found.st_mtime_ns
    except OSError as error:
        return str(error), 0, 0


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _tasks_and_peak(pids: set[int]) -> tuple[int, float]:
    """Threads of the processes together, and the largest resident memory any of them has had (MB)."""
    tasks, peak = 0, 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            tasks += int(fields["Threads"])
            peak = max(peak, int(fields.get("VmHWM", "0 kB").split()[0]) / 1024)
    return tasks, peak


def _shared_mb() -> float:
    """Memory of the machine in shared mappings, memory files and tmpfs."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Shmem:"))


def _disk(world: World) -> list[tuple[int, int]]:
    """Bytes and files in use where sessions might write."""
    used = []
    for place in (world.folder, tempfile.gettempdir(), "/dev/shm"):
        if Path(place).is_dir():
            found = os.statvfs(place)
            used.append(((found.f_blocks - found.f_bfree) * found.f_frsize, found.f_files - found.f_ffree))
    return used


def _grew(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> bool:
    return any(b[0] - a[0] > DISK or b[1] - a[1] > INODES for a, b in zip(before, after, strict=True))


def own_limits() -> None:
    """Bound this process and what it starts, should a program get out of hand where nothing holds it."""
    for kind, value in ((resource.RLIMIT_AS, 3 << 30), (resource.RLIMIT_CPU, 60), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (value, value))
