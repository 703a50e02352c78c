"""Containers for peers that run their code in them: an engine, an image made without a registry, what runs inside."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.peer_worker import IMAGE

GATEWAY = ("python3", "-m", "kernel_gateway", "--KernelGatewayApp.ip=0.0.0.0", "--KernelGatewayApp.port=8888")
CHANGES = (f"CMD {json.dumps(GATEWAY)}", "EXPOSE 8888")
"""What the peers' own Dockerfiles end with."""
ROOTFS = "rootfs.tar"
_PACKAGES = "python3,libstdc++6,libgomp1"
_PYTHON_PACKAGES = "jupyter_kernel_gateway ipykernel numpy sympy"


def make_rootfs(file: Path) -> None:
    """A Debian with a Jupyter kernel gateway, numpy and sympy as a tar file. Raises `OSError`, `CalledProcessError`."""
    part = file.with_suffix(".part.tar")
    pip = f"{sys.executable} -m pip install --quiet --python-version 3.11 --only-binary=:all:"
    hook = f'{pip} --target "$1/usr/local/lib/python3.11/dist-packages" {_PYTHON_PACKAGES}'
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", f"--customize-hook={hook}"]
    try:
        subprocess.run([*command, "bookworm", part], check=True)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def lacking(python: Path, folder: Path, until: ExitStack) -> str:
    """Why the Docker SDK of that environment finds no engine with `IMAGE`; "" where it does.

    Without DOCKER_HOST one is started with the image FOLDER/`ROOTFS`, if there is that, and named there.
    """
    if "DOCKER_HOST" not in os.environ and (folder / ROOTFS).exists():
        from tests.executors.engine import NoEngineError, engine

        try:
            os.environ["DOCKER_HOST"] = until.enter_context(engine(folder / ROOTFS, IMAGE, CHANGES, bridge=True))
        except NoEngineError as error:
            return str(error)
        until.callback(os.environ.pop, "DOCKER_HOST")
    asked = f"import docker; docker.from_env(version='auto').images.get({IMAGE!r})"
    done = subprocess.run([python, "-c", asked], capture_output=True, text=True, timeout=60)
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else ""


def processes(containers: list[str]) -> list[int]:
    """All processes of containers (ids), and the shim of each, which has waited for what was run in it and ended."""
    found = []
    for entry in Path("/proc").iterdir() if containers else ():
        if entry.name.isdecimal():
            try:
                known = (entry / "cgroup").read_text() + (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if any(container in known for container in containers):
                found.append(int(entry.name))
    return found
