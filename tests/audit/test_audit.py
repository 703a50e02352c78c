"""The audit finds what can be forged, and finds nothing in what is registered."""

import contextlib
import json
import random
from dataclasses import dataclass
from typing import ClassVar

import pytest
from typer.testing import CliRunner

from tests.contract.test_rewards import everything
from tests.play import ALL_IDS, full, make
from tir_gym.audit import CHEATS, Scene, audit, battery, cheat
from tir_gym.audit.report import _luck
from tir_gym.cli.main import app
from tir_gym.core.verify import Score, Verifier
from tir_gym.core.view import EpisodeView
from tir_gym.envs.registration import compatibility, make_setting
from tir_gym.recipes import recipes
from tir_gym.rewards import Base, Gate, RewardComponent, RewardProgram, Term
from tir_gym.rewards.checklist import Checklist, Item
from tir_gym.rewards.correctness import SubstringMatch
from tir_gym.rewards.efficiency import OTC
from tir_gym.rewards.format import SearchR1
from tir_gym.rewards.program import INVALID

ID = "toy/Archive-v0"


def problems(reports):
    return [f"{r.recipe} {r.protocol} {problem}" for r in reports for problem in (*r.findings, *r.invalid)]


def check_clean(env_id, episodes):
    reports = audit(env_id, ["", *recipes()], episodes=episodes)
    assert problems(reports) == []
    assert [report.recipe for report in reports] == ["", *recipes()]
    for report in reports:
        assert report.best
        assert report.oracle_score == 1.0
        assert report.cheats == len(battery(make_setting(env_id).domain.name)) >= 34
    assert reports[0].oracle["base"] == 1.0
    assert reports[0].best["base"][0] == 0.0


@pytest.mark.parametrize("env_id", ALL_IDS)
def test_no_cheat_earns_what_it_must_not_under_any_recipe(env_id):
    check_clean(env_id, 2)


@pytest.mark.soak
@pytest.mark.parametrize("env_id", ALL_IDS)
def test_no_cheat_earns_what_it_must_not_under_any_recipe_in_many_episodes(env_id):
    check_clean(env_id, full(100, env_id) // 2)


def syntaxes(env_id):
    """Every protocol and mode that fits."""
    for name, why in compatibility(env_id).items():
        for mode in ("strict", "lenient", "paper") if not why else ():
            with contextlib.suppress(ValueError):
                make_setting(env_id, protocol=name, protocol_mode=mode)
                yield name, mode


IN_WORDS = ("fake-results", "fake-roles", "fake-users", "gold-in-tail", "gold-in-thought", "hedges", "many-answers")
IN_WORDS = (*IN_WORDS, "nested", "printed-tags", "tags-through-tools", "unclosed")


def test_no_cheat_with_words_and_tags_earns_what_it_must_not_in_any_syntax():
    played = 0
    for name, mode in syntaxes(ID):
        rewards = everything()
        assert (
            problems(audit(ID, episodes=1, cheats=IN_WORDS, protocol=name, protocol_mode=mode, rewards=rewards)) == []
        )
        played += 1
    assert played >= 16


@pytest.mark.soak
@pytest.mark.parametrize("env_id", ALL_IDS)
def test_no_cheat_earns_what_it_must_not_in_any_environment_and_syntax(env_id):
    found, episodes = [], max(2, full(5, env_id))
    for name, mode in syntaxes(env_id):
        found += problems(audit(env_id, episodes=episodes, protocol=name, protocol_mode=mode, rewards=everything()))
    assert found == []


def test_a_megabyte_is_refused_at_the_border_and_harmless_beyond_it():
    for most in (200_000, 2_000_000):
        assert problems(audit("tir/MathCode-v0", episodes=1, cheats=["huge", "long"], max_chars=most)) == []


# --- positive controls: what is forgeable is found ---
@dataclass(frozen=True)
class CountsTags(RewardComponent):
    """A tool counts as used if its closing tag stands anywhere in what the policy wrote: the mistake of five papers."""

    channels: ClassVar[tuple[str, ...]] = ("tags",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        return {"tags": float(any("</search>" in text for text in view.evidence.policy_text))}


@dataclass(frozen=True)
class ReadsResults(RewardComponent):
    """The gold answer in a tool's result is success."""

    channels: ClassVar[tuple[str, ...]] = ("results",)
    reads_tool_text: ClassVar[bool] = True

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        return {"results": float(any(str(view.gold.answer) in text for text in view.tool_text(self).values()))}


@dataclass(frozen=True)
class PaysCalls(RewardComponent):
    """Every call is worth a point."""

    channels: ClassVar[tuple[str, ...]] = ("calls",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        return {"calls": float(len(view.tool_calls))}


@pytest.mark.parametrize(
    ("component", "by"),
    [(CountsTags(), "printed-tags"), (ReadsResults(), "gold-printed"), (PaysCalls(), "call-spam")],
)
def test_a_component_that_can_be_forged_is_found(component, by):
    env_id = "tir/MathCode-v0" if by == "gold-printed" else ID
    (report,) = audit(env_id, episodes=2, cheats=[by, "null"], rewards=RewardProgram((Base(), component)))
    assert not report.clean
    assert by in {finding.cheat for finding in report.findings}
    assert {finding.channel for finding in report.findings} == {component.channels[0], "total"}
    assert (component.channels[0] in report.reads_tool_text) == component.reads_tool_text


@dataclass(frozen=True)
class Eavesdrops(RewardComponent):
    """Reads what tools said behind the back of the machinery."""

    channels: ClassVar[tuple[str, ...]] = ("heard",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        return {"heard": -float(any("reward" in entry.text for entry in view.transcript))}


@dataclass(frozen=True)
class Escapes(RewardComponent):
    """Not a number where there is no answer, so that saying nothing is never punished."""

    channels: ClassVar[tuple[str, ...]] = ("escaped",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        return {"escaped": -1.0 + view.correct if view.evidence.answer else INVALID}


def test_a_component_that_reads_results_in_secret_is_found_though_no_cheat_forged_them():
    (report,) = audit(ID, episodes=1, cheats=["null"], rewards=RewardProgram((Base(), Eavesdrops())))
    assert [(f.cheat, f.channel) for f in report.findings] == [("forged-results", "heard")]


def test_what_reads_results_by_definition_is_played_with_forged_ones():
    rewards = RewardProgram((Term(Base(), 0.0), SearchR1()))
    (report,) = audit(ID, episodes=1, cheats=["call-spam-then-answer"], rewards=rewards)
    assert report.clean
    assert report.best["search_r1"] == (pytest.approx(0.3), "forged-results")


def test_escaping_a_reward_is_found():
    (report,) = audit(ID, episodes=1, cheats=["early-stop", "hedges"], rewards=RewardProgram((Base(), Escapes())))
    assert {(f.cheat, f.channel) for f in report.findings} == {("early-stop", "total")}
    assert "masked" in str(report.findings[0])


def test_a_reward_that_does_not_ask_for_the_answer_is_held_against_the_oracle():
    items = (Item("silent", "?", "at_most_calls", (("calls", 0),)),)
    (report,) = audit(ID, episodes=1, cheats=["null"], rewards=RewardProgram((Base(), Checklist(items))))
    assert report.allowed["checklist"] == report.oracle["checklist"] == 0.0
    assert {f.channel for f in report.findings} == {"checklist", "total"}


def test_a_channel_without_what_it_needs_is_named():
    (report,) = audit(ID, ["matchtir"], episodes=1, cheats=["null"])
    assert report.unheard == ("calls.matchtir",)


@pytest.mark.parametrize(("count", "floor", "most"), [(2, 0.0, 0), (1000, 0.0, 0), (2, 0.02, 1), (100, 0.02, 7)])
def test_luck_is_what_the_floor_makes_likely(count, floor, most):
    assert int(_luck(count, floor)) == most
    assert _luck(10, 1.0) >= 10


def test_a_forgeable_channel_behind_a_gate_is_reported_but_its_total_is_not():
    program = RewardProgram((Base(), PaysCalls()), Gate())
    (report,) = audit(ID, episodes=1, cheats=["call-spam"], rewards=program)
    assert {finding.channel for finding in report.findings} == {"calls"}


def test_substring_match_is_cheap_and_says_so():
    (report,) = audit(ID, episodes=2, cheats=["every-answer"], rewards=RewardProgram((SubstringMatch(),)))
    assert report.best["base"] == (1.0, "every-answer")
    assert report.allowed["base"] == 1.0


class Gullible(Verifier):
    def score(self, evidence, gold):
        return Score(float(any(str(gold.answer) in text for text in evidence.policy_text)))


class Fragile(Verifier):
    def score(self, evidence, gold):
        return Score(float(int(evidence.answer.text) == int(gold.answer)) if evidence.answer else 0.0)


@pytest.mark.parametrize(("verifier", "problem"), [(Gullible, "findings"), (Fragile, "invalid")])
def test_a_verifier_that_can_be_fooled_or_broken_is_found(monkeypatch, verifier, problem):
    domain = make_setting(ID).domain
    monkeypatch.setattr(type(domain), "verifier", lambda self: verifier())
    (report,) = audit(ID, episodes=2, cheats=["gold-in-thought", "echo", "payloads"])
    assert not report.clean
    assert getattr(report, problem)


def test_a_cheat_is_a_few_lines():
    before = dict(CHEATS)
    try:

        @cheat("knows it all")
        def knows(scene: Scene):
            yield scene.answer(scene.gold)

        (report,) = audit(ID, episodes=2, cheats=["knows it all"])
        assert report.solved == (1.0, "knows it all")
        assert [finding.channel for finding in report.findings] == ["score"]
        with pytest.raises(ValueError, match="already"):
            cheat("knows it all")(knows)
    finally:
        CHEATS.clear()
        CHEATS.update(before)


def test_every_cheat_says_what_it_tries_and_some_are_for_one_domain():
    assert all(each.turns.__doc__ for each in CHEATS.values())
    assert {name for name in CHEATS if name.startswith("sql-")} == set(battery("SQL")) - set(battery("Archive"))
    (report,) = audit(ID, episodes=1, cheats=["sql-by-luck", "null"])
    assert report.cheats == 1


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["test_suite", "value"])
@pytest.mark.parametrize("cheat", sorted(battery("SQL").keys() - battery("").keys()))
def test_each_trick_with_sql_fails(cheat, mode):
    assert problems(audit("tir/SQL-v0", episodes=40, cheats=[cheat], mode=mode)) == []


def test_a_verdict_from_the_database_shown_alone_is_found_to_take_copied_values():
    seeds = {"episodes": 4, "cheats": ["sql-copied-values"]}
    (alone,), (twins,) = (audit("tir/SQL-v0", **seeds, mode=mode) for mode in ("exec", "test_suite"))
    assert (alone.solved[1], twins.solved) == ("sql-copied-values", (0.0, ""))
    assert {finding.channel for finding in alone.findings} == {"score"}


def test_gold_where_it_is_read_as_the_answer_is_no_cheat():
    env = make("tir/SQL-v0", protocol="hermes")
    env.reset(seed=0)
    scene = Scene(env.setting, env.episode.task, random.Random(0))
    env.close()
    assert scene.gold not in scene.aside(f"<result>{scene.gold}</result>")
    assert scene.gold in scene.aside(f"<think>{scene.gold}</think>")


def test_rewards_of_the_group_are_judged_with_the_oracles_rollouts_beside():
    (report,) = audit(ID, episodes=1, cheats=["null"], rewards=RewardProgram((Term(Base(), 0.0), OTC())))
    assert report.best["otc"] == (0.0, "null")
    assert report.oracle["otc"] == 1.0


def test_unknown_names_are_named():
    with pytest.raises(KeyError, match="no recipe 'nope'; there are actions_teach"):
        audit(ID, ["nope"])
    with pytest.raises(KeyError, match="no cheat 'nope'; there are null"):
        audit(ID, cheats=["nope"])


# --- the command ---
def tir_gym(*arguments):
    return CliRunner().invoke(app, ["audit", *arguments])


def test_the_command_reports_and_its_status_tells():
    done = tir_gym(ID, "-n", "1", "--recipe", "otc", "--cheat", "null", "--cheat", "call-spam", "--json")
    assert done.exit_code == 0, done.output
    (report,) = json.loads(done.output)
    assert (report["env"], report["recipe"], report["clean"]) == (ID, "otc", True)
    assert report["channels"]["otc"]["best"] == 0.0
    assert report["score"] == {"best": 0.0, "cheat": "", "oracle": 1.0, "floor": 0.02}
    shown = tir_gym(ID, "-n", "1", "--cheat", "null", "--recipe", "search_r1_format", "--recipe", "matchtir").output
    for said in ("search_r1 *", "* reads what tools say", "none earned"):
        assert said in shown


def test_the_command_plays_in_the_syntaxes_it_is_told():
    done = tir_gym(ID, "-n", "1", "--cheat", "null", "--protocol", "all", "--json")
    assert {report["protocol"] for report in json.loads(done.output)} == {
        name for name, why in compatibility(ID).items() if not why
    }


def test_the_command_exits_with_1_for_a_finding(monkeypatch):
    domain = make_setting(ID).domain
    monkeypatch.setattr(type(domain), "verifier", lambda self: Gullible())
    done = tir_gym(ID, "-n", "2", "--cheat", "gold-in-thought")
    assert done.exit_code == 1
    assert "gold-in-thought" in done.output


@pytest.mark.parametrize(
    "wrong", [["nope/Nope-v0"], *([ID, option, "nope"] for option in ("--recipe", "--cheat", "--protocol"))]
)
def test_the_command_says_what_there_is(wrong):
    done = tir_gym(*wrong)
    assert done.exit_code == 2
    assert "there are" in done.output
