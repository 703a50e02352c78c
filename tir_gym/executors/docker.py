"""`DockerExecutor`: sessions in containers of Docker Engine, or of Podman through its Docker-compatible socket."""

import contextlib
import hashlib
import io
import os
import socket
import struct
import time
from collections.abc import Hashable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from tir_gym.core.interfaces import ExecutorUnavailable, Limits
from tir_gym.executors.cell import BOOT, Cell, Yard, keeper_config
from tir_gym.executors.launcher import ENVIRONMENT
from tir_gym.executors.pool import PooledExecutor
from tir_gym.executors.process import Preload
from tir_gym.executors.tiers import Tier

LABEL = "tir_gym.owner"
"""Of every container: the boot, pid namespace, process and its start that it belongs to."""
_WORK = "/box/work"
_READABLE = ("/usr", "/lib", "/lib64", "/opt", "/dev/zero", "/dev/urandom", "/dev/random")
_ROOM_MB = 128
"""Of a container's memory: what the keeper and its preloaded packages take."""
_PODMANS_OWN = ("/run", "/tmp", "/var/tmp")  # noqa: S108
"""Where Podman mounts something writable into a read-only root, unless something else is mounted there."""
_PODMAN_TASKS = 4096
"""Of all its sessions together; its own limit, 4194304, can be set with CAP_SYS_RESOURCE only."""
_GONE_S = 30.0
_STDERR = 2


class Attached:
    """What flows from and to a container, as a channel: the engine puts eight bytes before each piece of output."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._raw, self._left, self._stream = bytearray(), 0, 0
        self.errors = bytearray()

    def fileno(self) -> int:
        """Of the connection."""
        return self._socket.fileno()

    def send(self, data: bytearray, flags: int, /) -> int:
        """To the container's standard input."""
        return self._socket.send(data, flags)

    def recv(self, size: int, /) -> bytes:
        """From its standard output; the first of its standard error is kept in `errors`."""
        while data := self._socket.recv(size):
            self._raw += data
            if found := self._split():
                return found
        return b""

    def _split(self) -> bytes:
        found = bytearray()
        while self._raw:
            if not self._left:
                if len(self._raw) < 8:
                    break
                self._stream, self._left = struct.unpack(">BxxxL", self._raw[:8])
                del self._raw[:8]
            piece = self._raw[: self._left]
            del self._raw[: self._left]
            self._left -= len(piece)
            if self._stream != _STDERR:
                found += piece
            elif len(self.errors) < 4000:
                self.errors += piece
        return bytes(found)

    def close(self) -> None:
        """Let go; the engine closes the container's standard input, on which its keeper ends."""
        self._socket.close()


class Container(Cell):
    """A keeper as the first process of a container."""

    def __init__(self, name: str, attached: Attached, engine: Any, yard: Yard) -> None:
        super().__init__(attached, yard)
        self._name, self._engine, self._attached = name, engine, attached

    def complaint(self) -> str:
        """What the container wrote to standard error."""
        return self._attached.errors.decode("utf-8", "replace").strip()[-500:] or "it said nothing"

    def alive(self) -> bool:
        """Whether the engine still listens, where that can be told at once."""
        url = str(self._engine.base_url)
        path = getattr(self._engine.adapters.get("http+docker://", None), "socket_path", "")
        if not path or not url.startswith("http+docker://"):
            return True
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            return probe.connect_ex(path) in (0, 11)  # EAGAIN: many wait

    def bury(self) -> None:
        """Kill and remove the container; wait until the engine knows it no more."""
        remove(self._engine, self._name)


def remove(engine: Any, name: str) -> None:
    """Remove a container, running or not; returns when it is gone or after half a minute. Never raises."""
    import docker

    until = time.monotonic() + _GONE_S
    with contextlib.suppress(docker.errors.DockerException, OSError):
        while time.monotonic() < until:
            try:
                engine.remove_container(name, force=True, v=True)
                return
            except docker.errors.NotFound:
                return
            except docker.errors.APIError:  # it is being removed already
                time.sleep(0.02)


@dataclass(frozen=True)
class DockerExecutor(PooledExecutor):
    """Each session alone in a container without network, rights and a writable root: tier C, whatever attacks show.

    `image`: any with python3 (3.11 or later) and the packages of `preload`; "" builds the one of
    `tir_gym/assets/session.Dockerfile`, once. `cpus`: processors' worth of time. `url`: of the engine; "" follows
    DOCKER_HOST. Needs the extra `docker`.
    """

    image: str = ""
    preload: Preload = "lean"
    cpus: float = 1.0
    spare: int = 1
    url: str = ""
    min_tier: str = "C"
    why: ClassVar[str] = "the engine made none"
    best: ClassVar[Tier] = Tier.C

    def _prepare(self) -> Any:
        try:
            import docker
        except ImportError:
            raise ExecutorUnavailable("the Docker SDK is missing; pip install 'tir-gym[docker]'") from None
        where = self.url or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        if where.startswith("unix://") and not Path(where.removeprefix("unix://")).exists():  # the SDK leaks a socket
            raise ExecutorUnavailable(f"no container engine answers: there is no {where}; start one or set DOCKER_HOST")
        try:
            settings = docker.utils.kwargs_from_env() | ({"base_url": self.url} if self.url else {})
            engine = docker.APIClient(version="auto", timeout=60, **settings)
        except docker.errors.DockerException as error:
            raise ExecutorUnavailable(f"no container engine answers ({error}); start one or set DOCKER_HOST") from None
        try:
            if not engine.base_url.startswith(("http+docker://localhost", "http://")):
                raise ExecutorUnavailable("sessions need a plain socket to the engine: unix:// or tcp:// without TLS")
            _sweep(engine)
            if not engine.images(name=self._tag()):
                self._build(engine)
        except (docker.errors.DockerException, OSError) as error:
            engine.close()
            raise ExecutorUnavailable(f"the engine has no image {self._tag()!r}: {error}") from None
        except BaseException:
            engine.close()
            raise
        return engine

    def _tag(self) -> str:
        text = files("tir_gym.assets").joinpath("session.Dockerfile").read_bytes()
        return self.image or f"tir-gym-session:{hashlib.sha256(text).hexdigest()[:12]}"

    def _build(self, engine: Any) -> None:
        if self.image:
            raise ExecutorUnavailable(f"the engine has no image {self.image!r}; pull or build it first")
        build(engine, self._tag())

    def _shape(self, limits: Limits) -> Hashable:
        return limits.memory_mb, limits.disk_mb, limits.processes

    def _start(self, limits: Limits) -> Container:
        import docker

        engine = self._own.engine
        memory = (limits.memory_mb + limits.disk_mb + _ROOM_MB) << 20
        tmpfs = {_WORK: f"rw,noexec,nosuid,nodev,size={limits.disk_mb << 20},mode=1777"}
        ulimits = {"nofile": 1024}
        if _is_podman(engine):
            tmpfs |= dict.fromkeys(_PODMANS_OWN, "ro,noexec,nosuid,nodev")
            ulimits["nproc"] = _PODMAN_TASKS
        else:
            tmpfs[_WORK] += ",nr_inodes=2048"
        host = engine.create_host_config(
            network_mode="none",
            ipc_mode="none",
            read_only=True,
            tmpfs=tmpfs,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            mem_limit=memory,
            memswap_limit=memory,
            pids_limit=limits.processes + 2,
            nano_cpus=int(self.cpus * 1e9),
            ulimits=[docker.types.Ulimit(name=name, soft=most, hard=most) for name, most in ulimits.items()],
            log_config=docker.types.LogConfig(type="none"),
            auto_remove=True,
        )
        try:
            made = engine.create_container(
                self._tag(),
                ["-P", "-s", "-B", "-c", BOOT],
                entrypoint=["python3"],
                user="65534:65534",
                working_dir="/",
                environment=ENVIRONMENT,
                hostname="session",
                stdin_open=True,
                network_disabled=True,
                labels={LABEL: _me()},
                host_config=host,
            )
            try:
                engine.start(made["Id"])
                cell = Container(made["Id"], Attached(_attach(engine, made["Id"])), engine, self._own)
            except BaseException:
                remove(engine, made["Id"])
                raise
        except (docker.errors.DockerException, OSError) as error:
            raise ExecutorUnavailable(f"the engine starts no container: {error}") from error
        cell.greet(keeper_config(_WORK, self.preload, readable=_READABLE))
        return cell


def build(engine: Any, tag: str, **arguments: str) -> None:
    """Build the image of `session.Dockerfile` as `tag`; `arguments` are its BASE and PACKAGES. Raises `OSError`."""
    text = files("tir_gym.assets").joinpath("session.Dockerfile").read_bytes()
    said = engine.build(fileobj=io.BytesIO(text), tag=tag, buildargs=arguments, rm=True, forcerm=True, decode=True)
    for line in said:
        if "error" in line:
            raise OSError(f"building it failed: {line['error']}")


def _is_podman(engine: Any) -> bool:
    return any("Podman" in part["Name"] for part in engine.version().get("Components", ()))


def _attach(engine: Any, name: str) -> socket.socket:
    """The connection on which the container's streams flow, taken from the SDK."""
    stream = engine.attach_socket(name, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    beneath = stream._sock
    try:
        return socket.socket(fileno=os.dup(stream.fileno()))
    finally:
        stream._response.close()
        stream.close()
        beneath.close()


def _me() -> str:
    """This process in words that no other process on any machine has."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino} {os.getpid()} {_start_of(os.getpid())}"


def _start_of(pid: int) -> str:
    """When a process of this namespace started, in clock ticks since boot; "" if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _sweep(engine: Any) -> None:
    """Remove the containers that dead processes of this machine and pid namespace left."""
    mine = _me().split()
    for found in engine.containers(all=True, filters={"label": LABEL}):
        owner = found["Labels"][LABEL].split()
        if len(owner) == 4 and owner[:2] == mine[:2] and _start_of(int(owner[2])) != owner[3]:
            remove(engine, found["Id"])
