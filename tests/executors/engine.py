"""Container engines of the tests' own on private sockets, with an image made without a registry."""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.processes import wait_until_gone

IMAGE = "tir-gym-test:bookworm"
_ROOTFS = Path(tempfile.gettempdir(), "tir_gym-test-rootfs.tar")
"""Kept between runs: making it takes a minute and Debian's mirror."""
_PACKAGES = "python3,python3-numpy,libstdc++6,libgomp1"


class NoEngineError(RuntimeError):
    """No engine can be started here; the message says why."""


def rootfs() -> Path:
    """A Debian with python3 and numpy as a tar file. Raises `NoEngineError`."""
    if not _ROOTFS.exists():
        part = _ROOTFS.with_name(f"{_ROOTFS.stem}-{os.getpid()}.tar")
        command = ["mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(part)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=600)
            part.replace(_ROOTFS)
        except (OSError, subprocess.SubprocessError) as error:
            raise NoEngineError(f"no image: {error}; install mmdebstrap, have a mirror") from error
        finally:
            part.unlink(missing_ok=True)
    return _ROOTFS


@contextmanager
def engine(
    contents: Path | None = None, image: str = IMAGE, changes: Sequence[str] = (), bridge: bool = False
) -> Iterator[str]:
    """The URL of a running dockerd that has `image`; all of it is gone afterwards. Raises `NoEngineError`.

    `contents`: a tar file for the image, instead of that of `rootfs`. `changes`: lines of a Dockerfile for it.
    `bridge`: containers have a network and may publish ports.
    """
    _needs("dockerd", "docker.io")
    if bridge and Path("/sys/class/net/docker0").exists():
        raise NoEngineError("another engine has a network here: name it in DOCKER_HOST, or try in `unshare --net`")
    with tempfile.TemporaryDirectory(prefix="tir_gym-engine-") as folder:
        options = f"--data-root={folder}/data --exec-root={folder}/exec --pidfile={folder}/pid -H unix://{folder}/sock"
        options += " --iptables=false --ip-forward=false --ip-masq=false" + ("" if bridge else " --bridge=none")
        try:
            with _serving(["dockerd", *options.split()], Path(folder)) as url:
                _import(url, contents or rootfs(), image, changes)
                yield url
        finally:
            if bridge:
                subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True)


@contextmanager
def podman() -> Iterator[str]:
    """As `engine`, of a podman behind its Docker-compatible socket."""
    _needs("podman", "podman")
    with tempfile.TemporaryDirectory(prefix="tir_gym-podman-") as folder:
        options = f"--root={folder}/root --runroot={folder}/run --tmpdir={folder}/tmp --network-config-dir={folder}/net"
        options += " --cgroup-manager=cgroupfs --events-backend=file"
        if shutil.which("runc"):  # crun refuses hybrid control groups
            options += " --runtime=runc"
        command = ["podman", *options.split()]
        try:
            with _serving([*command, "system", "service", "-t", "0", f"unix://{folder}/sock"], Path(folder)) as url:
                _command([*command, "import", "--quiet", str(rootfs()), f"docker.io/library/{IMAGE}"])
                yield url
                _command([*command, "rm", "--all", "--force"])
        finally:
            _unmount(folder)


def _unmount(folder: str) -> None:
    """End what podman left to clean up after its containers, which would mount again; then undo the mounts."""
    while left := [int(p.name) for p in Path("/proc").glob("[0-9]*") if folder.encode() in _arguments(p)]:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until_gone(set(left))
    while subprocess.run(["umount", f"{folder}/root/overlay"], capture_output=True).returncode == 0:
        pass


def _arguments(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def _needs(program: str, package: str) -> None:
    if os.geteuid() != 0 or shutil.which(program) is None:
        raise NoEngineError(f"{program} needs root and Debian's {package} (apt-get install {package})")
    if importlib.util.find_spec("docker") is None:
        raise NoEngineError("the Docker SDK is missing (pip install docker)")


def _command(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise NoEngineError(f"{' '.join(command)} failed: {done.stderr[-1000:]}")


@contextmanager
def _serving(command: list[str], folder: Path) -> Iterator[str]:
    """The URL of the engine that `command` runs, which listens at `folder`/sock; it ends afterwards."""
    url, log = f"unix://{folder}/sock", folder / "log"
    if shutil.which("setpriv"):
        command = ["setpriv", "--pdeathsig", "TERM", *command]  # tests that are killed leave no engine
    with (
        log.open("wb") as file,
        subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True) as daemon,
    ):
        try:
            _ready(url, daemon, log)
            yield url
        finally:
            daemon.terminate()
            daemon.wait(60)


def _ready(url: str, daemon: "subprocess.Popen[bytes]", log: Path) -> None:
    import docker

    until = time.monotonic() + 60
    while daemon.poll() is None and time.monotonic() < until:
        if Path(url.removeprefix("unix://")).exists():
            client = docker.APIClient(base_url=url, version="auto")
            try:
                client.ping()
            finally:
                client.close()
            return
        with suppress(subprocess.TimeoutExpired):
            daemon.wait(0.05)
    raise NoEngineError(f"{daemon.args[0]} did not start: {log.read_text()[-1000:]}")


def _import(url: str, contents: Path, image: str, changes: Sequence[str]) -> None:
    import docker

    repository, _, tag = image.partition(":")
    client = docker.APIClient(base_url=url, version="auto", timeout=300)
    try:
        client.import_image_from_file(str(contents), repository=repository, tag=tag, changes=list(changes))
    finally:
        client.close()
