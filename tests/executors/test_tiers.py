"""Tiers: what each takes, that attacks decide them, and that a start below the one asked for is refused."""

import json
import os
import pickle
import subprocess
import sys
import tempfile
from itertools import pairwise
from typing import Any

import gymnasium
import pytest

from tests.executors.conftest import LIMITS, run
from tir_gym.core.interfaces import ExecutorUnavailable
from tir_gym.executors import process
from tir_gym.executors.forkserver import ForkServer
from tir_gym.executors.tiers import TAKES, Tier, admit, tier_named, tier_of

ALL = dict.fromkeys(set().union(*TAKES.values()), "enforced")
USERS = ["root", "unprivileged"] if os.geteuid() == 0 else ["unprivileged"]


# --- the rule ---------------------------------------------------------------------------------------------------------
def test_tiers_have_an_order() -> None:
    assert [tier.value for tier in sorted(Tier, reverse=True)] == ["A", "A-", "B", "C", "unsafe"]
    assert all(low < high and high >= low for low, high in pairwise(Tier))


def test_a_tier_is_what_its_layers_show() -> None:
    assert tier_of(ALL) is Tier.A
    for layer in ALL:
        found = tier_of(ALL | {layer: "missing: test"})
        assert found == max(tier for tier in Tier if layer not in TAKES[tier])
    assert tier_of(ALL | {"landlock": "missing: test"}) is Tier.A_MINUS
    assert tier_of(ALL | {"namespaces": "missing: test"}) is Tier.B
    assert tier_of(ALL | {"seccomp": "missing: test", "processes": "missing: test"}) is Tier.C
    assert tier_of(ALL | {"filesystem": "missing: test"}) is Tier.UNSAFE
    assert tier_of({"all": "missing: test"}) is Tier.UNSAFE
    assert tier_of(ALL, Tier.C) is Tier.C


@pytest.mark.parametrize("tier", Tier)
def test_below_the_least_tier_the_missing_layers_are_named_with_their_mend(tier: Tier) -> None:
    report = {"tier": "C", **ALL, "seccomp": "missing: why; buy one", "user": "missing: no matter"}
    if tier is Tier.UNSAFE or tier <= Tier.C:
        admit(report, tier)
        return
    with pytest.raises(ExecutorUnavailable, match=r"tier C.*seccomp \(why; buy one\)") as error:
        admit(report, tier)
    assert "no matter" not in str(error.value)


def test_what_no_layer_can_mend_is_said() -> None:
    with pytest.raises(ExecutorUnavailable, match="tier C at most"):
        admit({"tier": "C", **ALL}, Tier.B, best=Tier.C)


def test_a_wrong_name_is_told_with_the_right_ones() -> None:
    with pytest.raises(ValueError, match=r"min_tier='D': one of 'A', 'A-', 'B', 'C', 'unsafe'"):
        ForkServer(min_tier="D")
    assert tier_named("A-") is Tier.A_MINUS


def test_the_least_tier_is_part_of_the_configuration() -> None:
    executor = ForkServer(min_tier="A", pool_tasks=500)
    assert pickle.loads(pickle.dumps(executor)) == executor != ForkServer()


# --- on kernels that lack something -----------------------------------------------------------------------------------
PROGRAM = """
import json, sys, warnings
from tests.executors.conftest import LIMITS, run
from tir_gym.core.interfaces import ExecutorUnavailable
from tir_gym.executors.forkserver import ForkServer
told = {"warned": "", "refused": ""}
executor = ForkServer(preload=(), min_tier=sys.argv[1])
try:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        executor.acquire()
    told["warned"] = " ".join(str(warning.message) for warning in caught)
except ExecutorUnavailable as error:
    told["refused"] = str(error)
else:
    told["tier"], told["report"] = executor.tier, executor.report()
    session = executor.open(LIMITS, 0)
    told["value"] = run(session, "n = 6; n * 7").value
    told["copy"] = ""
    if sys.argv[1] != "unsafe":
        told["copy"] = run(session.fork(), "n * 8").value
    executor.release()
print(json.dumps(told))
"""


def on_a_kernel_without(lacking: str, user: str, min_tier: str = "B") -> dict[str, Any]:
    """What a program of ours finds there."""
    command = [sys.executable, "-m", "tests.executors.lacking", lacking, sys.executable, "-c", PROGRAM, min_tier]
    if user == "unprivileged" and os.geteuid() == 0:
        command = [sys.executable, "-m", "tests.executors.hostile.stranger", *command]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    ("lacking", "tier", "missing"),
    [
        ("", "A", set()),
        ("landlock", "A-", {"landlock"}),
        ("namespaces", "B", {"namespaces", "disk quota"}),
    ],
)
def test_a_weaker_kernel_gives_a_lower_tier_that_holds(lacking: str, tier: str, missing: set[str], user: str) -> None:
    told = on_a_kernel_without(lacking, user)
    assert (told["refused"], told["warned"]) == ("", "")
    report = told["report"]
    assert (told["tier"], report.pop("tier")) == (tier, tier)
    found = {layer for layer, finding in report.items() if finding != "enforced"}
    assert missing <= found <= missing | {"cgroup", "user"}
    assert (told["value"], told["copy"]) == ("42", "48")


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    ("lacking", "tier", "named"),
    [
        ("landlock,namespaces", "unsafe", ["landlock (the kernel has no Landlock; boot Linux 5.13", "namespaces ("]),
        ("seccomp", "C", ["seccomp (the kernel refuses seccomp filters; it needs CONFIG_SECCOMP_FILTER)"]),
        ("seccomp,namespaces", "unsafe", ["seccomp (", "processes ("]),
    ],
)
def test_below_b_it_refuses_and_says_what_is_missing(lacking: str, tier: str, named: list[str], user: str) -> None:
    refused = on_a_kernel_without(lacking, user)["refused"]
    assert f"tier {tier}, and min_tier is B" in refused
    assert [text for text in named if text not in refused] == []


@pytest.mark.parametrize("user", USERS)
def test_at_its_own_risk_it_starts_and_warns(user: str) -> None:
    told = on_a_kernel_without("landlock,namespaces,seccomp", user, "unsafe")
    assert (told["tier"], told["value"]) == ("unsafe", "42")
    assert "tier unsafe" in told["warned"]
    assert {"landlock", "namespaces", "seccomp", "processes"} <= {
        k for k, v in told["report"].items() if v != "enforced"
    }


def test_a_higher_tier_than_there_is_is_refused() -> None:
    with pytest.raises(ExecutorUnavailable, match=r"tier B, and min_tier is A-; missing: .*namespaces \(asked for"):
        ForkServer(preload=(), namespaces=False, min_tier="A-").acquire()


def test_programs_that_were_asked_for_cost_no_tier() -> None:
    report = ForkServer(preload=(), programs=True, min_tier="A-").report()
    assert report["tier"] in ("A", "A-")
    assert "as asked for" in report["processes"]


# --- attacks, not settings --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("module", "line", "instead", "layer"),
    [
        ("confine", "jail.close_from(6)", "os.dup2(0, 9)", "descriptors"),
        ("confine", "os.setsid()", "pass", "processes"),
        ("confine", 'self.size + limits["memory"]', "1 << 46", "memory"),
        ("launcher", '"PYTHONHASHSEED": "0",', '"PYTHONHASHSEED": "0", "MY_KEY": "secret",', "environment"),
        ("seccomp", "restart_syscall=219", "restart_syscall=219 ptrace=101", "seccomp"),
        ("seccomp", "uname=63", "uname=63 kill=62", "processes"),
        ("confine", "size={limits['disk']}", "size={limits['disk'] * 99}", "disk quota"),
        ("launcher", "    jail.pivot(_ROOT)", "    _bind('/tmp', '/tmp', 0, done); jail.pivot(_ROOT)", "filesystem"),
    ],
)
def test_a_hole_in_the_jail_is_found_before_anyone_gets_in(
    module: str, line: str, instead: str, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = process.programs
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")

    def holed(names: list[str]) -> list[tuple[str, str]]:
        found = dict(whole(names))
        assert line in found[module]
        found[module] = found[module].replace(line, instead)
        return list(found.items())

    monkeypatch.setattr(process, "programs", holed)
    with pytest.raises(ExecutorUnavailable, match=rf"missing: .*{layer} \("):
        ForkServer(preload=(), min_tier="A").acquire()


def test_a_session_that_cannot_be_attacked_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = process.programs

    def broken(names: list[str]) -> list[tuple[str, str]]:
        return [(name, text.replace("os.chdir(work)", "raise OSError('no way')")) for name, text in whole(names)]

    monkeypatch.setattr(process, "programs", broken)
    with pytest.raises(ExecutorUnavailable, match=r"all \(the attacks did not finish .*no way"):
        ForkServer(preload=()).acquire()


# --- where it is told -------------------------------------------------------------------------------------------------
def test_the_tier_is_known_while_there_is_a_lease() -> None:
    executor = ForkServer(preload=())
    assert executor.tier == ""
    with executor.leased():
        assert executor.tier == executor.report()["tier"] != ""
        assert run(executor.open(LIMITS, 0), "1").value == "1"
    assert executor.tier == ""


def test_info_tells_at_which_tier_code_runs() -> None:
    env = gymnasium.make("tir/MathCode-v0", executor=ForkServer(preload=(), namespaces=False))
    info = env.reset(seed=0)[1]
    assert info["executor"] == "B"
    assert env.step("nothing")[4]["executor"] == "B"
    env.close()
    env = gymnasium.make("toy/Ledger-v0")
    assert env.reset(seed=0)[1]["executor"] == ""
    env.close()
