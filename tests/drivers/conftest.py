"""Vector environments that are closed after the test."""

import pytest

import tir_gym


@pytest.fixture
def envs():
    made = []

    def build(num_envs, env_id="tir/MathCode-v0", **options):
        made.append(tir_gym.make_vec(env_id, num_envs, **options))
        return made[-1]

    yield build
    for vector in made:
        vector.close()
