"""Slots in Ray actors, on a local cluster of several nodes; skipped, and said so, where Ray is not installed."""

import os

import pytest

import tir_gym
from tests.drivers.test_workers import COUNT, ENV_ID, LONG, SERVER, SLOTS, play, rows_of
from tests.processes import descendants, wait_until_gone

ray = pytest.importorskip("ray", reason="Ray is not installed: `pip install tir-gym[ray]`; its backend goes UNTESTED")

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


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


@pytest.fixture
def vector(cluster):
    options = {"workers": 2, "worker_options": {"num_cpus": 1}, "executor": SERVER}
    made = tir_gym.make_vec(ENV_ID, SLOTS, backend="ray", **options)
    yield made
    made.close()


def inline():
    made = tir_gym.make_vec(ENV_ID, SLOTS)
    played = play(made, LONG)
    made.close()
    return played


def test_without_a_running_ray_nothing_is_started():
    with pytest.raises(RuntimeError, match=r"call ray.init\(\) first"):
        tir_gym.make_vec(ENV_ID, SLOTS, backend="ray", workers=2)


def test_actors_give_the_same_bytes_though_actors_and_nodes_are_killed(cluster, vector):
    expected = inline()
    assert play(vector, LONG) == expected
    links = vector._seats._links

    def disturb(n):
        if n in (3, 8):
            ray.kill(links[n % 2]._actor)
        if n == 6:
            cluster.add_node(num_cpus=1)
            cluster.remove_node(sorted(cluster.worker_nodes, key=lambda node: node.node_id)[0], allow_graceful=False)

    assert play(vector, LONG, None, disturb) == expected


def test_closing_ends_the_actors(vector):
    vector.reset(seed=1)
    assert [turn[-1]["turn"] for _, turn, _ in rows_of(vector, [COUNT] * SLOTS)] == [1] * SLOTS
    actors = [link._actor for link in vector._seats._links]
    vector.close()
    for actor in actors:
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(actor.stop.remote(), timeout=60.0)
