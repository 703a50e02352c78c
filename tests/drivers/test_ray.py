"""Slots in Ray actors, on a local cluster of several nodes; skipped, and said so, where Ray is not installed."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings

import tir_gym
from tests.drivers.game import Game, Killer, chaos, play
from tests.drivers.test_workers import COUNT, ENV_ID, HONEST, ORDERS, SCRIPTS, SEEDS, SERVER, SLOTS, links_of, rows_of
from tests.drivers.test_workers import single as single  # a fixture
from tests.processes import descendants, wait_until_gone

ray = pytest.importorskip("ray", reason="Ray is not installed: `pip install tir-gym[ray]`; its backend goes UNTESTED")

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)
LONG = [
    ({0: COUNT, 1: COUNT, 2: "<think>hm</think>", 3: COUNT}, (0, 2)),
    ({0: COUNT, 1: "<answer>0</answer>", 2: COUNT, 3: COUNT}, (3, 1)),
    ({0: COUNT, 1: COUNT, 2: COUNT}, None),
    ({0: "<answer>0</answer>", 1: COUNT, 2: COUNT, 3: "<answer>1</answer>"}, None),
    ({0: COUNT, 1: COUNT, 2: COUNT, 3: COUNT}, (1, 3)),
    ({0: COUNT, 1: COUNT, 2: COUNT, 3: COUNT}, None),
]


@pytest.fixture(scope="module")
def cluster():
    """A head that plays nothing, and two nodes for an actor each."""
    from ray.cluster_utils import Cluster

    before = descendants()
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    made.wait_for_nodes()
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()
    wait_until_gone(descendants() - before)


@pytest.fixture(scope="module")
def vector(cluster):
    options = {"workers": 2, "worker_options": {"num_cpus": 1}, "executor": SERVER}
    made = tir_gym.make_vec(ENV_ID, SLOTS, backend="ray", **options)
    yield made
    made.close()


def actors():
    """The processes of the actors that live."""
    found = []
    for pid in sorted(descendants()):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if line.startswith(b"ray::Relay"):
            found.append(pid)
    return found


def test_without_a_running_ray_nothing_is_started():
    with pytest.raises(RuntimeError, match=r"call ray.init\(\) first"):
        tir_gym.make_vec(ENV_ID, SLOTS, backend="ray", workers=2)


@settings(max_examples=settings.default.max_examples // 10, phases=[Phase.generate])
@given(seeds=SEEDS, script=SCRIPTS, rng=ORDERS)
def test_actors_give_the_same_bytes_in_any_order_and_with_any_copies(vector, single, seeds, script, rng):
    assert play(Game(vector, seeds), script, rng).check(single) == (0, 0)


def test_actors_and_nodes_that_are_killed_lose_nothing(cluster, vector, single):
    moments = iter(range(1000))

    def disturb():
        n = next(moments)
        if n in (3, 6):
            ray.kill(links_of(vector)[n % 2]._actor)
        if n == 9:
            cluster.add_node(num_cpus=1)
            cluster.remove_node(sorted(cluster.worker_nodes, key=lambda node: node.node_id)[0], allow_graceful=False)

    game = play(Game(vector, [3] * SLOTS), LONG, None, disturb)
    assert game.check(single) == (0, 0)
    assert next(moments) > 9


@pytest.mark.parametrize(("seed", "deaths"), [(1, 6), pytest.param(2, 40, marks=pytest.mark.soak)])
def test_killing_actors_servers_and_sandboxes_at_random_loses_nothing(vector, single, seed, deaths):
    chaos(vector, single, HONEST, Killer(random.Random(seed), actors), deaths)


def test_closing_ends_the_actors(cluster):
    made = tir_gym.make_vec(ENV_ID, 1, backend="ray", workers=1, worker_options={"num_cpus": 0}, executor=SERVER)
    made.reset(seed=1)
    assert [turn[-1]["turn"] for _, turn, _ in rows_of(made, [COUNT])] == [1]
    actor = links_of(made)[0]._actor
    made.close()
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.stop.remote(), timeout=60.0)
