"""The full reward set-up of a paper in a line: `tir_gym.recipes.otc(gym.make(...))`.

A recipe sets the reward program, and nothing else; protocol and budget are options of `gym.make` (`PROTOCOLS` says
which syntax a paper used). Rewards that hold the answer leave the channel `base` at weight 0, so that it can still be
read. Put recipes directly around the environment; reward wrappers around a recipe add to it.
"""

import inspect
import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym

from tir_gym.rewards import (
    calibration,
    calls,
    checklist,
    correctness,
    cost,
    efficiency,
    labels,
    process,
)
from tir_gym.rewards import format as form
from tir_gym.rewards import (
    icrl as demonstrated,
)
from tir_gym.rewards.combine import Combine, Gate
from tir_gym.rewards.program import Base, RewardComponent, RewardProgram, Term
from tir_gym.wrappers.rewards import UseRewards

Env = gym.Env[Any, Any]

PROTOCOLS = {
    "search_r1": "search_r1",
    "search_r1_format": "search_r1",
    "toolrl": "toolrl",
    "retool": "fenced",
    "simpletir": "fenced",
    "torl": "fenced",
    "tool_star": "tool_star",
    "arpo": "tool_star",
    "ikea": "search_r1",
    "lightsearcher": "search_r1",
    "deepeyes": "hermes",
    "router_r1": "search_r1",
}
"""The syntax of a recipe's paper, where it is one of ours."""


def _set(env: Env, *terms: Term | RewardComponent, combine: Combine | None = None) -> Env:
    """The terms, and the verifier's score to read where none of them is a measure of the answer."""
    program = RewardProgram(terms, combine)
    if "base" not in program.channels:
        program = program.with_term(Term(Base(), 0.0))
    return UseRewards(env, program)


def search_r1(env: Env) -> Env:
    """Search-R1: EM of the answer, {0, 1}."""
    return _set(env, correctness.ExactMatch())


def search_r1_format(env: Env) -> Env:
    """Search-R1 v0.3: EM and the state machine of its format, [0, 1]; it reads retrieved text (rs)."""
    return _set(env, form.SearchR1())


def toolrl(env: Env) -> Env:
    """ToolRL: correctness of calls in [-3, 3] plus format in {0, 1}; needs `gold.data["calls"]`."""
    return _set(env, calls.ToolRLCorrectness(), form.ToolRLFormat())


def otc(env: Env) -> Env:
    """OTC-PO (GRPO): y * efficiency against the group's fewest calls, [0, 1]; needs the group."""
    return _set(env, efficiency.OTC())


def otc_ppo(env: Env) -> Env:
    """OTC-PO (PPO): y * cos(m pi / (2m + 1)), [0, 1]."""
    return _set(env, efficiency.OTCPPO())


def retool(env: Env) -> Env:
    """ReTool as in verl's recipe: +1, or for a wrong answer -1 up to -0.6 with more tool turns."""
    return _set(env, correctness.ReTool())


def torl(env: Env) -> Env:
    """ToRL: +1 for a right answer, -1 for a wrong one."""
    return _set(env, correctness.Signed())


def simpletir(env: Env) -> Env:
    """SimpleTIR: the verifier's score; make the environment with `void_ends=True`, and mask policy_error."""
    return _set(env, Base())


def tool_star(env: Env) -> Env:
    """Tool-Star: -1 for a bad format, else F1, and 0.1 more if search and python were both called."""
    return _set(env, efficiency.ToolStar())


def arpo(env: Env) -> Env:
    """ARPO: the reward of Tool-Star; its branching belongs to the rollout (`fork`)."""
    return tool_star(env)


def matchtir(env: Env) -> Env:
    """MatchTIR: matched similarity of calls turn by turn, f1_set of the answer; needs `gold.data["calls"]`."""
    return _set(env, calls.MatchTIR())


def cm2(env: Env) -> Env:
    """CM2: the checklist of the task (`gold.data["checklist"]`), [0, 1]."""
    return _set(env, checklist.Checklist())


def ikea(env: Env) -> Env:
    """IKEA: format, EM, and a bonus for few searches, [-1, 1.6]."""
    return _set(env, efficiency.IKEA())


def lightsearcher(env: Env) -> Env:
    """LightSearcher: -1 or 0.5 F1 + 0.5 thrift, [-1, 1]; needs the group."""
    return _set(env, efficiency.LightSearcher())


def hdpo(env: Env) -> Env:
    """HDPO: two channels, never summed. The reward is the first; read both through `RewardChannels` or `info`."""
    return _set(env, efficiency.HDPOAccuracy(), Term(efficiency.HDPOTools(), 0.0))


def deepeyes(env: Env) -> Env:
    """DeepEyes: 0.8 acc - 0.2 format error + 1.2 for a right answer with tools."""
    return _set(env, efficiency.DeepEyes())


def pixelreasoner(env: Env) -> Env:
    """PixelReasoner: the score plus the curiosity bonus; needs the group."""
    return _set(env, Base(), efficiency.PixelReasoner())


def toolorchestra(env: Env) -> Env:
    """ToolOrchestra: outcome, money and time against the group, 0 for a wrong answer; needs the group."""
    return _set(env, cost.ToolOrchestra())


def router_r1(env: Env) -> Env:
    """Router-R1: -1 for a bad format, else EM (its training script gives cost no weight)."""
    return _set(env, cost.RouterR1())


def calibration_dichotomy(env: Env) -> Env:
    """Confidence Dichotomy: the margin-separated calibration reward, [-0.5, 1] (formula by this project)."""
    return _set(env, calibration.Margin())


def rlcr(env: Env) -> Env:
    """RLCR: y - (c - y)^2, [-1, 1]."""
    return _set(env, Base(), calibration.Brier())


def spear(env: Env) -> Env:
    """SPEAR: the score plus a bonus for tool turns that fades over 100 training steps (`set_progress`)."""
    return _set(env, Base(), efficiency.SPEAR())


def prs(env: Env) -> Env:
    """PRS: parse, then format, then quality, [0, 1] (formula by this project)."""
    return _set(env, form.ProgressiveFormat())


def aspo(env: Env) -> Env:
    """ASPO: the verifier's score; its bias is on advantages (`rollout.advantages.aspo`)."""
    return _set(env, Base())


def adareasoner(env: Env) -> Env:
    """AdaReasoner: format * (2 * call score + answer), [0, 3]."""
    return _set(env, efficiency.AdaReasoner())


def fathom(env: Env) -> Env:
    """Fathom: format, and step classes from the call log."""
    return _set(env, efficiency.Fathom())


def thor(env: Env) -> Env:
    """THOR: {0, 1}; a correct episode with a failed call is invalid, for it is no positive."""
    return _set(env, process.THOR())


def tgrl(env: Env) -> Env:
    """TGRL: correctness and efficiency, two channels, summed (formula by this project)."""
    return _set(env, Base(), efficiency.TGRL())


def tapo(env: Env) -> Env:
    """TAPO: the score, and -0.1 for each repeated call (formula by this project)."""
    return _set(env, Base(), efficiency.TAPO())


def skyrl_sql(env: Env) -> Env:
    """SkyRL-SQL: -1 for a bad format, else the verifier's score."""
    gate = Gate("format.skyrl_sql", threshold=0.0, otherwise=-1.0)
    return _set(env, Base(), form.SkyRLSQLFormat(), combine=gate)


def rex_rag(env: Env) -> Env:
    """REX-RAG: EM plus 0.2 times the graded format (the weight is this project's)."""
    return _set(env, correctness.ExactMatch(), Term(form.RexRag(), 0.2))


def tl_training(env: Env) -> Env:
    """TL-Training: the reward of calls against gold's, [-2, 1]; needs `gold.data["calls"]`."""
    return _set(env, calls.TLTraining())


def matchtir_ot(env: Env) -> Env:
    """MatchTIR (OT): as `matchtir` with optimal transport for the assignment; needs `gold.data["calls"]`."""
    return _set(env, calls.MatchTIR(matching="transport"))


def ftrl(env: Env) -> Env:
    """FTRL in training: reward turn by turn for hidden sub-answers; needs `gold.data["sub_answers"]`."""
    return _set(env, calls.FTRLTurns())


def bfcl(env: Env) -> Env:
    """BFCL: 1 if the calls pass the AST checks; needs `gold.data["bfcl"]` and `gold.data["functions"]`."""
    return _set(env, calls.BFCL())


def actions_teach(env: Env) -> Env:
    """Actions Teach You to Think: ToolRL's correctness scaled to [0, 1], plus the answer (formula by this project)."""
    return _set(env, Base(), calls.ToolRLCorrectness(high=1.0, low=0.0))


def icrl(env: Env) -> Env:
    """ICRL: 0.8 EM + 0.2 form, [0, 1]; `rewards.schedules.icrl_demonstrations` says how many are in the prompt."""
    return _set(env, demonstrated.ICRL())


def smart(env: Env) -> Env:
    """SMART: the score, less overuse and underuse of tools, [-2, 1]; needs `gold.data["steps"]`."""
    return _set(env, Base(), labels.SMART())


def astra(env: Env) -> Env:
    """ASTRA: F1 of useful calls and reached sub-goals, [0, 1]; needs `gold.data["sub_goals"]`."""
    return _set(env, labels.ASTRA())


def toolcomp(env: Env) -> Env:
    """ToolComp: the score, and the share of steps taken well, [0, 2]; needs `gold.data["mended"]`."""
    return _set(env, Base(), labels.ToolComp())


def ruscarl(env: Env) -> Env:
    """RuscaRL: points of the rubric, [0, 1]; needs `gold.data["rubric"]`."""
    return _set(env, checklist.Rubric())


def rare(env: Env) -> Env:
    """RARE: the score, and F1 of the sources that are named, [0, 2]; needs `gold.data["sources"]`."""
    return _set(env, Base(), process.RARE())


def bats(env: Env) -> Env:
    """BATS: the score less the price of the calls (its unified cost without tokens, which the engine knows)."""
    return _set(env, Base(), cost.CallCost())


def spa(env: Env) -> Env:
    """SPA-RL: the score plus grounding, [0, 1.1]; the estimator's shares are `rollout.advantages.spread`."""
    return _set(env, Base(), process.Grounded())


def portool(env: Env) -> Env:
    """PORTool: the score of the leaf; what a step earns needs the tree (`rollout.advantages.fork_relative`)."""
    return _set(env, Base())


def longvt(env: Env) -> Env:
    """LongVT: 0.9 answer + 0.1 form, [0, 1]."""
    return _set(env, efficiency.HDPOAccuracy())


def recipes() -> dict[str, Callable[[Env], Env]]:
    """All recipes by name."""
    module = sys.modules[__name__]
    own = inspect.getmembers(module, inspect.isfunction)
    return {name: f for name, f in own if f.__module__ == __name__ and not name.startswith("_") and name != "recipes"}
