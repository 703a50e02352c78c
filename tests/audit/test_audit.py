"""The audit finds what can be forged, and finds nothing in what is registered."""

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest
from typer.testing import CliRunner

from tests.play import ALL_IDS
from tir_gym.audit import CHEATS, Scene, audit, cheat
from tir_gym.cli.main import app
from tir_gym.core.verify import Score, Verifier
from tir_gym.core.view import EpisodeView
from tir_gym.envs.registration import make_setting
from tir_gym.recipes import recipes
from tir_gym.rewards import Base, Gate, RewardComponent, RewardProgram, Term
from tir_gym.rewards.correctness import SubstringMatch
from tir_gym.rewards.efficiency import OTC

ID = "toy/Archive-v0"


@pytest.mark.parametrize("env_id", ALL_IDS)
def test_no_cheat_earns_what_it_must_not_under_any_recipe(env_id):
    reports = audit(env_id, ["", *recipes()], episodes=2)
    assert [str(f) for report in reports for f in report.findings] == []
    assert [line for report in reports for line in report.invalid] == []
    assert [report.recipe for report in reports] == ["", *recipes()]
    for report in reports:
        assert report.best
        assert report.solved == 0.0
    plain = reports[0]
    assert plain.oracle["base"] == 1.0
    assert plain.best["base"][0] == 0.0


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
    (report,) = audit(env_id, episodes=2, rewards=RewardProgram((Base(), component)))
    assert not report.clean
    assert by in {finding.cheat for finding in report.findings}
    assert {finding.channel for finding in report.findings} == {component.channels[0], "total"}
    assert (component.channels[0] in report.reads_tool_text) == component.reads_tool_text


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
    (report,) = audit(ID, episodes=2)
    assert not report.clean
    assert getattr(report, problem)


def test_a_cheat_is_a_few_lines():
    before = dict(CHEATS)
    try:

        @cheat("knows it all")
        def knows(scene: Scene):
            yield scene.answer(scene.gold)

        (report,) = audit(ID, episodes=2, cheats=["knows it all"])
        assert report.solved == 1.0
        assert [finding.channel for finding in report.findings] == ["score"]
        with pytest.raises(ValueError, match="already"):
            cheat("knows it all")(knows)
    finally:
        CHEATS.clear()
        CHEATS.update(before)


def test_every_cheat_says_what_it_tries():
    assert len(CHEATS) >= 28
    assert all(function.__doc__ for function in CHEATS.values())


def test_rewards_of_the_group_are_judged_with_the_oracles_rollouts_beside():
    (report,) = audit(ID, episodes=1, cheats=["null"], rewards=RewardProgram((Term(Base(), 0.0), OTC())))
    assert report.best["otc"] == (0.0, "null")
    assert report.oracle["otc"] == 1.0


def test_unknown_names_are_named():
    with pytest.raises(KeyError, match="no recipe 'nope'; there are adareasoner"):
        audit(ID, ["nope"])


# --- the command ---
def tir_gym(*arguments):
    return CliRunner().invoke(app, ["audit", *arguments])


def test_the_command_reports_and_its_status_tells():
    done = tir_gym(ID, "-n", "1", "--recipe", "otc", "--cheat", "null", "--cheat", "call-spam", "--json")
    assert done.exit_code == 0, done.output
    (report,) = json.loads(done.output)
    assert (report["env"], report["recipe"], report["clean"]) == (ID, "otc", True)
    assert report["channels"]["otc"]["best"] == 0.0
    assert "none earned" in tir_gym(ID, "-n", "1", "--cheat", "null").output


def test_the_command_exits_with_1_for_a_finding(monkeypatch):
    domain = make_setting(ID).domain
    monkeypatch.setattr(type(domain), "verifier", lambda self: Gullible())
    done = tir_gym(ID, "-n", "2", "--cheat", "gold-in-thought")
    assert done.exit_code == 1
    assert "gold-in-thought" in done.output


@pytest.mark.parametrize("wrong", [["nope/Nope-v0"], [ID, "--recipe", "nope"], [ID, "--cheat", "nope"]])
def test_the_command_says_what_there_is(wrong):
    done = tir_gym(*wrong)
    assert done.exit_code == 2
    assert "there are" in done.output
