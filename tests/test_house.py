"""The house is as its plan says."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tir_gym
from tests.play import SHIPPED_IDS

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["envs", "wrappers", "assets"])
def test_top_level_rooms_are_links_into_the_package(name):
    link = ROOT / name
    assert link.is_symlink()
    assert link.resolve() == ROOT / "tir_gym" / name


def test_the_wheel_holds_one_copy(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    assert {name.split("/")[0] for name in names} == {"tir_gym", f"tir_gym-{tir_gym.__version__}.dist-info"}
    assert sum(name.endswith("math_code/env.py") for name in names) == 1
    assert any(name.endswith("words.json") for name in names)


def test_importing_is_light():
    heavy = "torch faiss docker ray matplotlib pandas sympy scipy pyarrow rich pydantic typer"
    program = f"import sys, tir_gym; print(sorted(set({heavy!r}.split()) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("env_id", SHIPPED_IDS)
def test_importing_and_making_take_no_network_and_registering_is_enough(env_id):
    program = (
        "import socket, sys; socket.socket = None; import gymnasium as gym\n"
        f"env = gym.make('tir_gym:{env_id}'); env.close()\n"
        "heavy = {'torch', 'faiss', 'docker', 'ray', 'matplotlib', 'pandas', 'sympy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_versions_mean_something():
    """A change of what (seed, index) gives makes a new version of the id: this hash is `-v0`."""
    import hashlib
    import json

    from tir_gym.envs.math_code.tasks import make_tasks

    digest = hashlib.sha256()
    for split in ("train", "validation", "test"):
        tasks = make_tasks(None, split, None)
        for seed in range(100):
            task = tasks.draw(seed)
            digest.update(json.dumps([task.id, task.prompt, task.gold.answer, task.gold.plan]).encode())
    assert digest.hexdigest() == GOLDEN


GOLDEN = "344dfb65d46855c882ab7a3101b3f9f42470040ca3bbf0ed2c3b499441867127"
