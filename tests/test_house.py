"""The house is as its plan says."""

import dataclasses
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tir_gym
from tests.play import SHIPPED_IDS
from tir_gym.envs.registration import make_setting

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
        "import random; before = random.getstate()\n"
        f"env = gym.make('tir_gym:{env_id}'); env.close()\n"
        "assert random.getstate() == before, 'something imported drew from the global generator'\n"
        "heavy = {'torch', 'faiss', 'docker', 'ray', 'matplotlib', 'pandas', 'sympy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("env_id", SHIPPED_IDS)
def test_versions_mean_something(env_id):
    """A change of what (seed, index) gives makes a new version of the id: these hashes are `-v0`."""
    digest = hashlib.sha256()
    for split in ("train", "validation", "test"):
        tasks = make_setting(env_id, split=split).tasks
        for seed in range(100):
            task = tasks.draw(seed)
            content = [task.id, task.prompt, task.gold.answer, task.gold.plan, task.data]
            digest.update(json.dumps(content, default=dataclasses.asdict, sort_keys=True).encode())
    assert digest.hexdigest() == GOLDEN[env_id]


GOLDEN = {
    "tir/MathCode-v0": "b2306092d82c02912905360ca8b23bfeb788ea3ab1d627c771a49df50676addf",
    "tir/MathCodeStateless-v0": "b2306092d82c02912905360ca8b23bfeb788ea3ab1d627c771a49df50676addf",
    "tir/OpaqueKnapsack-v0": "4c12e93fc37d481cb8405d9651cb036d85d27e9aa203fc016091ca4651c16f0d",
    "tir/SQL-v0": "74d58b91208d524ae7c62f9660e907859a4be3171c881afac4fb9a378f7d23be",
    "tir/SQLWrite-v0": "5163ab6cbbbaf77a7c0f4454e83de20979e7ba44c64028ccc6efc1aa24e9b546",
    "tir/TableQA-v0": "6a112ed855bb2635bfe321b9c9d0588aa74bf00c95317add161bf18567331f3e",
    "tir/SearchQA-v0": "39ee55b35952f17ddaf63e3bb53b5be0c3079021b9e2df9691a094fb57caa67c",
    "tir/ToolRetrieval-v0": "99df9014d64ebaf16a86ab3ccf9b36c34342de4c699e1b63f848f65041233924",
}
