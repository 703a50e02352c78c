"""The numeric vectors of the specification; another file of the same form is taken from TIR_GYM_VECTORS."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tir_gym.core.action import ToolCall
from tir_gym.rewards import checklist, correctness, cost, efficiency, process, schedules
from tir_gym.rewards.format import search_r1_v03
from tir_gym.rollout import advantages, metrics
from tir_gym.scoring import calibration, retrieval, text, tool_calls

HERE = Path(__file__).parent / "vectors.json"
FILE = Path(os.environ.get("TIR_GYM_VECTORS", HERE))


def made(data):
    return [ToolCall(call["name"], call["parameters"]) for call in data]


def hdpo(correct, tools, fmt):
    accuracy = 0.9 * np.array(correct) + 0.1 * np.array(fmt)
    channel = [1 / (t + 1) if y else 0.0 for t, y in zip(tools, correct, strict=True)]
    return [
        advantages.group_relative(accuracy, population=True).tolist(),
        channel,
        advantages.conditional(channel, correct).tolist(),
    ]


def cm2(deps, w, states):
    reward, awards = checklist.cm2_turn(states, deps, w)
    return {"turn_reward": reward, "awards": [list(award) for award in awards]}


def assigned(S, greedy):
    return tool_calls.matched_rewards(np.array(S, float), greedy=greedy)


FORMULAS = {
    "toolrl.correctness": lambda gt, pred: tool_calls.toolrl_correctness(made(gt), made(pred)),
    "otc.grpo": lambda m, n, c: efficiency.otc_grpo(m, n, c),
    "otc.ppo": lambda m, c: efficiency.otc_ppo(m, c),
    "lightsearcher": lambda f1, m, n, format: efficiency.lightsearcher(f1, m, n, format != 0),
    "ikea": lambda em, searches, format_ok: efficiency.ikea(bool(em), searches, bool(format_ok)),
    "hdpo.channels(pstd,eps=1e-6)": hdpo,
    "matchtir.similarity": lambda pred, gt: tool_calls.matchtir_similarity(*made([pred, gt])),
    "matchtir.assign.repo_greedy": lambda S: assigned(S, True),
    "matchtir.assign.true_KM": lambda S: assigned(S, False),
    "matchtir.OT(reg=0.1)": lambda S: tool_calls.transported_rewards(np.array(S), 0.1),
    "matchtir.dual_adv(lam=0.9,sample std)": lambda turn_rewards: [
        own.tolist() for own in advantages.dual_level(turn_rewards, 0.9)
    ],
    "ftrl.solve": tool_calls.ftrl_solve,
    "tltraining": lambda **flags: tool_calls.tl_training(**{name: bool(flag) for name, flag in flags.items()}),
    "fathom(0.1*fmt)": lambda format, correct, uniqS, redS, explore, verify, redQ: efficiency.fathom(
        format_ok=bool(format),
        correct=bool(correct),
        unique=uniqS,
        repeated=redS,
        explored=explore,
        verified=verify,
        requeried=redQ,
    ),
    "spear.tool_bonus": lambda step, T, tool_turns: efficiency.spear(tool_turns, step, T),
    "deepeyes": lambda acc, format_error, used_tool: efficiency.deepeyes(acc, bool(format_error), bool(used_tool)),
    "pixelreasoner.add": lambda n, group_rate: efficiency.pixelreasoner(n, group_rate),
    "retool.verl": lambda score, num_turns: correctness.retool(score, num_turns),
    "dapo.overlong": lambda L, max, buf, factor: cost.dapo_overlong(L, max, buf, factor),
    "pass^k": lambda n, c, k: metrics.pass_hat_k(n, c, k),
    "mledojo.humanrank": lambda score, board, higher: process.human_rank(score, board, higher),
    "comp@k": lambda gt, ranked, k: retrieval.complete_at(gt, ranked, k),
    "recall@k": lambda gt, ranked, k: retrieval.recall_at(gt, ranked, k),
    "ndcg@k": lambda gt, ranked, k: retrieval.ndcg_at(gt, ranked, k),
    "aspo": lambda A, p, L: advantages.aspo(A, p, L).tolist(),
    "calibration.margin(beta)": lambda beta, correct, conf: calibration.margin(bool(correct), conf, beta),
    "ece10": lambda conf, y: calibration.ece(conf, y, 10),
    "brier": lambda conf, y: calibration.brier(conf, y),
    "mcip": lambda conf, y: calibration.mcip(conf, y),
    "nar": lambda TP, FN, TN, FP: retrieval.call_alignment(TP, FN, TN, FP),
    "ruscarl.reveal": lambda i, G, t: schedules.ruscarl_reveal(i, G, t),
    "scalinginter": schedules.scaling_inter,
    "skill0.max_set": schedules.skill0_max_set,
    "agent0.curriculum": lambda self_consistency, cluster_share, tool_calls, valid: efficiency.agent0_curriculum(
        self_consistency, cluster_share, tool_calls, bool(valid)
    ),
    "prs.task_value": lambda Rmax, mean, std: process.worth(Rmax, mean, std),
    "adareasoner": lambda fmt, tool, acc, lt, la: efficiency.adareasoner(fmt, tool, acc, lt, la),
    "router_r1.cost_norm(sqrt,5-95pct,stream)": cost.cost_norms,
    "toolorchestra": lambda M_cols, M, P, ok: cost.toolorchestra(M, P, [bool(one) for one in ok]),
    "cm2.turn": cm2,
    "cm2.turn(dep met only in the same step: no award)": cm2,
    "collab.weighted_outcome": lambda d_opt, d_last: process.weighted_outcome(d_last, d_opt),
    "length_aware_bleu": lambda hyp, ref: text.length_aware_bleu(hyp, ref),
    "search_r1.v0.3": lambda em, valid_sequence, gold_in_information, answered: search_r1_v03(
        em=bool(em),
        valid_sequence=bool(valid_sequence),
        gold_in_information=bool(gold_in_information),
        answered=bool(answered),
    ),
    "tau2.product": lambda terminated_normally, parts: process.tau2_product(bool(terminated_normally), parts),
    "rubric.score(clip0-1)": lambda points, met: checklist.rubric_score(points, [bool(one) for one in met]),
}
"""Every formula that a vector names, by that name."""

FOUR_DECIMALS = {
    "hdpo.channels(pstd,eps=1e-6)",
    "matchtir.dual_adv(lam=0.9,sample std)",
    "ftrl.solve",
    "matchtir.OT(reg=0.1)",
}
"""Names whose expected values are given to four decimals; all others have six."""

VECTORS = json.loads(FILE.read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=[f"{n}-{vector['name']}" for n, vector in enumerate(VECTORS)])
def test_a_vector_comes_out_as_given(vector):
    assert vector["name"] in FORMULAS, f"no formula is known by the name {vector['name']!r}"
    decimals = 4 if vector["name"] in FOUR_DECIMALS else 6
    agrees(FORMULAS[vector["name"]](**vector["input"]), vector["expected"], 0.51 * 10**-decimals)


def agrees(got, wanted, tolerance):
    if isinstance(wanted, dict):
        assert got.keys() == wanted.keys()
        for name, value in wanted.items():
            agrees(got[name], value, tolerance)
    elif isinstance(wanted, list):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            agrees(one, other, tolerance)
    elif isinstance(wanted, str):
        assert got == wanted
    else:
        assert got == pytest.approx(wanted, abs=tolerance)


def test_there_is_a_vector_for_every_formula():
    named = {vector["name"] for vector in json.loads(HERE.read_text())}
    assert named == FORMULAS.keys()
