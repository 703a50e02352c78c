"""Play episodes and keep them."""

import contextlib
import copy
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from tir_gym.core.schema import EpisodeRecord
from tir_gym.drivers.env import ToolEnv
from tir_gym.rollout.policies import POLICIES, Policy, PolicyMaker, PolicyUnavailable
from tir_gym.rollout.record import episode_key, record_of
from tir_gym.rollout.trajectories import TrajectoryFile


class EpisodesLeftOut(RuntimeError):  # noqa: N818
    """Some episodes could not be played because their policy was unavailable; all others were.

    `failures` maps their seeds to the causes. They are in no file, so a rollout that is resumed plays them.
    """

    def __init__(self, failures: Mapping[int, PolicyUnavailable]) -> None:
        self.failures = dict(failures)
        shown = ", ".join(map(str, list(self.failures)[:10])) + (", ..." if len(self.failures) > 10 else "")
        first = next(iter(self.failures.values()))
        what = "1 episode is" if len(self.failures) == 1 else f"{len(self.failures)} episodes are"
        super().__init__(f"{what} left out, to be played again (seeds {shown}): {first}")


def collect(
    env: ToolEnv,
    policy: str | PolicyMaker,
    seeds: Iterable[int],
    file: TrajectoryFile | None = None,
    *,
    name: str = "",
    concurrency: int = 1,
) -> Iterator[EpisodeRecord]:
    """Play one episode for each seed and yield its record, written to `file` first if there is one.

    Seeds whose episode the file holds already are skipped, so a rollout that was cut off goes on where it stopped; a
    seed that comes again is, too.
    `policy` is a name from `POLICIES` or a maker of policies; the record calls it `name`, or else what it calls itself.

    With `concurrency` 1, `env` plays, seed by seed. With more, that many copies of `env` play in threads of their own
    over its executor, and records come as episodes end, each the same as if it were played alone; `env` is left as
    it is. Makers are then called in those threads.

    An episode whose policy becomes unavailable is left out and the others go on; `EpisodesLeftOut` is raised at the
    end. Where that is lasting, and at any other error, all stop at once and the error is raised: what was yielded is
    kept. Raises `KeyError` for an unknown name, `ValueError` for a `concurrency` under 1, and `TypeError` for an
    environment in wrappers, which records would not show.
    """
    if not isinstance(env, ToolEnv):
        raise TypeError(f"collect plays a bare environment: give env.unwrapped, not {type(env).__name__}")
    if concurrency < 1:
        raise ValueError(f"concurrency={concurrency} must be at least 1")
    make = POLICIES[policy] if isinstance(policy, str) else policy
    label = name or (policy if isinstance(policy, str) else _name_of(policy))
    keys = ((seed, episode_key(env.setting, label, seed)) for seed in _once(seeds))
    wanted = ((seed, key) for seed, key in keys if file is None or key not in file.keys)
    failures: dict[int, PolicyUnavailable] = {}
    players = [_Player(env if concurrency == 1 else copy.copy(env), make, label) for _ in range(concurrency)]
    with contextlib.closing(
        _one_by_one(players[0], wanted) if concurrency == 1 else _together(players, wanted)
    ) as ends:
        for seed, end in ends:
            if isinstance(end, PolicyUnavailable):
                failures[seed] = end
                continue
            if file is not None:
                file.append(end)
            yield end
    if failures:
        raise EpisodesLeftOut(failures)


def _once(seeds: Iterable[int]) -> Iterator[int]:
    seen: set[int] = set()
    for seed in seeds:
        if seed not in seen:
            seen.add(seed)
            yield seed


def play(env: ToolEnv, make: PolicyMaker, seed: int) -> None:
    """Play the episode of one seed to its end. Raises what the policy raises."""
    _Player(env, make, "").play(seed)


class _Player:
    """Plays episodes in an environment; may be stopped from another thread."""

    def __init__(self, env: ToolEnv, make: PolicyMaker, label: str) -> None:
        self.env = env
        self._make = make
        self._label = label
        self._policy: Policy | None = None
        self._stopped = False

    def play(self, seed: int) -> None:
        """Play one episode to its end. Raises what the policy raises."""
        env = self.env
        observation, info = env.reset(seed=seed)
        with self._make(env.setting, env.setting.tasks.find(info["task"]["id"])) as policy:
            self._policy = policy
            policy.begin(env)
            ended = False
            while not ended:
                if self._stopped:
                    raise RuntimeError("the rollout was stopped")
                text = observation if isinstance(observation, str) else observation["text"]
                observation, _, terminated, truncated, info = env.step(policy.act(text, info))
                ended = terminated or truncated

    def record(self, seed: int, key: str) -> EpisodeRecord | PolicyUnavailable:
        """Play one episode; its record, or why there is none. Raises where no episode can be played any more."""
        try:
            self.play(seed)
        except PolicyUnavailable as unavailable:
            if unavailable.lasting:
                raise
            return unavailable
        return record_of(self.env, key=key, policy=self._label)

    def stop(self) -> None:
        """End the episode being played before its next turn, and the turn if the policy can."""
        self._stopped = True
        if self._policy is not None:
            self._policy.close()


_Ends = Generator[tuple[int, EpisodeRecord | PolicyUnavailable]]


def _one_by_one(player: _Player, wanted: Iterator[tuple[int, str]]) -> _Ends:
    for seed, key in wanted:
        yield seed, player.record(seed, key)


def _together(players: list[_Player], wanted: Iterator[tuple[int, str]]) -> _Ends:
    """As episodes end; a seed is taken up when a player is free. Nothing of the players is left afterwards.

    A player keeps to one thread, in which its environment is closed too: worlds may hold what is bound to a thread.
    """
    free = list(players)
    running: dict[Future[EpisodeRecord | PolicyUnavailable], tuple[int, _Player]] = {}
    with contextlib.ExitStack() as stack:
        threads = {player: stack.enter_context(ThreadPoolExecutor(1, "rollout")) for player in players}
        try:
            while True:
                while free and (job := next(wanted, None)) is not None:
                    player = free.pop()
                    running[threads[player].submit(player.record, *job)] = job[0], player
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=lambda future: future.exception() is not None):
                    end = future.result()
                    seed, player = running.pop(future)
                    free.append(player)
                    yield seed, end
        finally:
            for _, player in running.values():
                player.stop()
            for closed in [thread.submit(player.env.close) for player, thread in threads.items()]:
                closed.result()


def _name_of(policy: PolicyMaker) -> str:
    return str(getattr(policy, "name", "") or getattr(policy, "__name__", "policy"))
