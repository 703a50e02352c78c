"""Play a toy into a trajectory file, an episode for each line of standard input, and tell of every one."""

import sys

import tests.toys  # noqa: F401  registers the toy environments
from tests.play import make
from tir_gym.rollout import TrajectoryFile, collect

env_id, path, episodes = sys.argv[1], sys.argv[2], int(sys.argv[3])
env = make(env_id)
seeds = (seed for seed in range(episodes) if sys.stdin.readline())
with TrajectoryFile(path) as file:
    print("open", len(file.keys), flush=True)
    for record in collect(env, "oracle", seeds, file):
        print(record.key, flush=True)
env.close()
print("done", flush=True)
