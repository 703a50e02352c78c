"""Playing the battery against an environment, and what came of it."""

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gymnasium as gym

from tir_gym.audit.cheats import CHEATS, policy_of
from tir_gym.core.domain import Setting
from tir_gym.core.schema import EpisodeRecord
from tir_gym.drivers.env import ToolEnv
from tir_gym.recipes import PROTOCOLS, recipes
from tir_gym.rewards.program import RewardProgram
from tir_gym.rollout.collect import play
from tir_gym.rollout.groups import finalize_group
from tir_gym.rollout.policies import POLICIES, PolicyMaker
from tir_gym.rollout.record import record_of

TOLERANCE = 1e-9


@dataclass(frozen=True)
class Finding:
    """A cheat that earned what it must not."""

    cheat: str
    channel: str
    earned: float
    allowed: float
    task: str

    def __str__(self) -> str:
        return f"{self.cheat}: {self.earned:g} in {self.channel!r}, where {self.allowed:g} is allowed ({self.task})"


@dataclass
class Report:
    """What the battery earned in an environment under a reward program.

    `best` has for each channel the best value that a cheat reached while its score was 0 and who reached it, `oracle`
    the oracle's mean (nan where there is none), `allowed` what the reward says can be had without the answer. `solved`
    is the greatest share of episodes that a cheat solved, held against `floor`.
    """

    env_id: str
    recipe: str
    episodes: int
    floor: float
    solved: float = 0.0
    best: dict[str, tuple[float, str]] = field(default_factory=dict)
    oracle: dict[str, float] = field(default_factory=dict)
    allowed: dict[str, float] = field(default_factory=dict)
    reads_tool_text: tuple[str, ...] = ()
    """Channels that read what tools say, by definition."""
    invalid: list[str] = field(default_factory=list)
    """Cheats that brought the environment to an invalid end, which a policy could use to be masked."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether no cheat earned what it must not, and none broke anything."""
        return not self.findings and not self.invalid

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON data."""
        channels = {
            name: {
                "best": value,
                "cheat": who,
                "oracle": self.oracle.get(name, math.nan),
                "allowed": self.allowed[name],
                "reads_tool_text": name in self.reads_tool_text,
            }
            for name, (value, who) in sorted(self.best.items())
        }
        return {
            "env": self.env_id,
            "recipe": self.recipe,
            "episodes": self.episodes,
            "floor": self.floor,
            "solved": self.solved,
            "channels": channels,
            "invalid": self.invalid,
            "findings": [str(finding) for finding in self.findings],
            "clean": self.clean,
        }


def audit(
    env_id: str,
    names: Sequence[str] = ("",),
    *,
    episodes: int = 5,
    cheats: Sequence[str] | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,
    **options: Any,
) -> list[Report]:
    """Play every cheat (or those named) for some episodes, and hold what they earn against what is allowed.

    There is a report for each recipe named; "" stands for the rewards that the options give. A recipe is played in its
    paper's protocol where that fits the environment. Recipes of one protocol are judged on the same episodes, for a
    reward is a function of the episode.

    A cheat may be right by luck as often as the environment's floor says (and once, where episodes are few). In
    episodes with a score of 0 no channel may exceed what its component declares (`unearned`). An invalid episode is a
    finding too. Raises `KeyError` for a recipe or a cheat that is not known.
    """
    by_protocol: dict[str, list[str]] = {}
    for name in names:
        if name and name not in recipes():
            raise KeyError(f"no recipe {name!r}; there are {', '.join(recipes())}")
        wanted = PROTOCOLS.get(name, "") if "protocol" not in options else ""
        by_protocol.setdefault(wanted if wanted and _fits(env_id, wanted, options) else "", []).append(name)
    reports: dict[str, Report] = {}
    for protocol, group in by_protocol.items():
        env = gym.make(env_id, **({**options, "protocol": protocol} if protocol else options))
        try:
            inner = env.unwrapped
            assert isinstance(inner, ToolEnv)
            programs = {name: _program(inner, name) for name in group}
            seeds = range(seed, seed + episodes)
            oracle = _played(inner, POLICIES["oracle"], "oracle", seeds)
            battery = {}
            for cheat in CHEATS if cheats is None else cheats:
                progress(cheat)
                battery[cheat] = _played(inner, policy_of(CHEATS[cheat]), cheat, seeds)
            for name, program in programs.items():
                reports[name] = _report(inner.setting, name, program, battery, oracle, episodes)
        finally:
            env.close()
    return [reports[name] for name in names]


def _program(env: ToolEnv, recipe: str) -> RewardProgram:
    """The program of a recipe, or of the environment as it is."""
    bare = ToolEnv(env.setting, None)
    if recipe:
        recipes()[recipe](bare)
    program = bare.setting.rewards
    if not isinstance(program, RewardProgram):
        raise TypeError(f"only a RewardProgram can be audited, not {program!r}")
    return program


def _report(
    setting: Setting,
    recipe: str,
    program: RewardProgram,
    battery: dict[str, list[EpisodeRecord]],
    oracle: list[EpisodeRecord],
    episodes: int,
) -> Report:
    """What the battery earns under a program."""
    report = Report(setting.env_id, recipe, episodes, setting.domain.floor)
    for term in program.terms:
        report.allowed |= dict.fromkeys(term.component.channels, term.unearned())
        if term.component.reads_tool_text:
            report.reads_tool_text += term.component.channels
    report.allowed["total"] = _allowed_total(program, report.allowed)
    again = partial(finalize_group, rewards=program, setting=setting)
    report.oracle = _means(program, again(oracle))
    for cheat, records in battery.items():
        _hold(report, cheat, again([*records, *oracle])[: len(records)])
    return report


def _fits(env_id: str, protocol: str, options: dict[str, Any]) -> bool:
    try:
        gym.make(env_id, protocol=protocol, **options).close()
    except ValueError:
        return False
    return True


def _played(env: ToolEnv, make: PolicyMaker, name: str, seeds: Iterable[int]) -> list[EpisodeRecord]:
    """Episodes of a policy, those that it can play."""
    records = []
    for seed in seeds:
        with contextlib.suppress(LookupError):
            play(env, make, seed)
            records.append(record_of(env, policy=name))
    return records


def _allowed_total(program: RewardProgram, allowed: dict[str, float]) -> float:
    """The combined value of channels that are at what is allowed; a term of negative weight allows 0."""
    return program.total({name: value if program.weights[name] > 0 else 0.0 for name, value in allowed.items()})


def _means(program: RewardProgram, done: list[EpisodeRecord]) -> dict[str, float]:
    names = (*program.channels, "total")
    columns = {name: [v for r in done if not math.isnan(v := {**r.rewards, "total": r.total}[name])] for name in names}
    return {name: math.fsum(column) / len(column) if column else math.nan for name, column in columns.items()}


def _hold(report: Report, cheat: str, records: list[EpisodeRecord]) -> None:
    """Enter what a cheat earned."""
    solved = 0
    for record in records:
        if not record.valid:
            report.invalid.append(f"{cheat}: {record.outcome} ({record.failure})")
            continue
        if record.verdict.value > 0:
            solved += 1
            continue
        earned = {**record.rewards, "total": record.total}
        for name, value in earned.items():
            if math.isnan(value):
                continue
            if name not in report.best or value > report.best[name][0]:
                report.best[name] = value, cheat
            if value > report.allowed[name] + TOLERANCE:
                report.findings.append(Finding(cheat, name, value, report.allowed[name], record.state.task.id))
    share = solved / max(1, len(records))
    report.solved = max(report.solved, share)
    if solved > max(1, report.floor * len(records)):
        report.findings.append(Finding(cheat, "score", share, report.floor, f"{solved} of {len(records)} episodes"))
