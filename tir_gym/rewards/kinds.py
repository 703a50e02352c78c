"""The components of the five families, by the names under which the wrappers know them."""

from collections.abc import Mapping

from tir_gym.rewards import calibration, calls, correctness, cost, efficiency, icrl, labels, process
from tir_gym.rewards import checklist as lists
from tir_gym.rewards import format as form
from tir_gym.rewards.program import RewardComponent

Kinds = Mapping[str, type[RewardComponent]]

FORMAT: Kinds = {
    "turns": form.TurnFormat,
    "toolrl": form.ToolRLFormat,
    "tool_star": form.ToolStarFormat,
    "router_r1": form.RouterR1Format,
    "ikea": form.IKEAFormat,
    "skyrl_sql": form.SkyRLSQLFormat,
    "deepeyes": form.DeepEyesFormat,
    "search_r1": form.SearchR1,
    "rex_rag": form.RexRag,
    "verl_tool": form.VerlToolPenalties,
    "prs": form.ProgressiveFormat,
    "icrl": icrl.ICRL,
    "toolrl_length": calls.ToolRLLength,
    "overlong": cost.Overlong,
}
CORRECTNESS: Kinds = {
    "exact_match": correctness.ExactMatch,
    "contains": correctness.SubstringMatch,
    "f1": correctness.TokenF1,
    "f1_set": correctness.SetF1,
    "bleu": correctness.LengthAwareBleu,
    "math": correctness.MathMatch,
    "gta": correctness.WhiteBlackList,
    "geo": correctness.GeoLevels,
    "box_iou": correctness.BoxIoU,
    "span_iou": correctness.SpanIoU,
    "signed": correctness.Signed,
    "retool": correctness.ReTool,
    "human_rank": labels.HumanRank,
}
EFFICIENCY: Kinds = {
    "otc": efficiency.OTC,
    "otc_ppo": efficiency.OTCPPO,
    "lightsearcher": efficiency.LightSearcher,
    "ikea": efficiency.IKEA,
    "hdpo_accuracy": efficiency.HDPOAccuracy,
    "hdpo_tools": efficiency.HDPOTools,
    "deepeyes": efficiency.DeepEyes,
    "pixelreasoner": efficiency.PixelReasoner,
    "spear": efficiency.SPEAR,
    "tool_star": efficiency.ToolStar,
    "tool_star_by_text": efficiency.ToolStarByText,
    "adareasoner": efficiency.AdaReasoner,
    "tapo": efficiency.TAPO,
    "tgrl": efficiency.TGRL,
    "fathom": efficiency.Fathom,
    "router_r1": cost.RouterR1,
    "toolorchestra": cost.ToolOrchestra,
    "cost": cost.CallCost,
    "toolrl": calls.ToolRLCorrectness,
    "matchtir": calls.MatchTIR,
    "ftrl": calls.FTRL,
    "ftrl_turns": calls.FTRLTurns,
    "tl_training": calls.TLTraining,
    "bfcl": calls.BFCL,
    "tau2": calls.Tau2Actions,
    "plan_f1": calls.PlanF1,
    "thor": process.THOR,
    "grounded": process.Grounded,
    "smart": labels.SMART,
    "astra": labels.ASTRA,
}
CALIBRATION: Kinds = {
    "brier": calibration.Brier,
    "margin": calibration.Margin,
    "log": calibration.LogScore,
    "abstention": calibration.Abstention,
}
CHECKLIST: Kinds = {
    "checklist": lists.Checklist,
    "rubric": lists.Rubric,
    "rare": process.RARE,
    "toolcomp": labels.ToolComp,
}
