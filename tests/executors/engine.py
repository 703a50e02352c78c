"""A container engine of the tests' own: Debian's dockerd on a private socket, with an image made without a registry."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
def engine() -> Iterator[str]:
    """The URL of a running dockerd that has `IMAGE`; all of it is gone afterwards. Raises `NoEngineError`."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise NoEngineError("a dockerd needs root and Debian's docker.io (apt-get install docker.io)")
    if importlib.util.find_spec("docker") is None:
        raise NoEngineError("the Docker SDK is missing (pip install docker)")
    with tempfile.TemporaryDirectory(prefix="tir_gym-engine-") as folder:
        url = f"unix://{folder}/sock"
        options = f"--data-root={folder}/data --exec-root={folder}/exec --pidfile={folder}/pid -H {url} --bridge=none"
        options += " --iptables=false --ip-forward=false --ip-masq=false"
        with (
            Path(folder, "log").open("wb") as log,
            subprocess.Popen(["dockerd", *options.split()], stdout=log, stderr=log, start_new_session=True) as daemon,
        ):
            try:
                _ready(url, daemon, Path(folder, "log"))
                _import(url)
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
        time.sleep(0.05)
    raise NoEngineError(f"dockerd did not start: {log.read_text()[-1000:]}")


def _import(url: str) -> None:
    import docker

    repository, tag = IMAGE.split(":")
    client = docker.APIClient(base_url=url, version="auto", timeout=300)
    try:
        client.import_image_from_file(str(rootfs()), repository=repository, tag=tag)
    finally:
        client.close()
