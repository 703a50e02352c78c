r"""Published benchmarks: how the columns of each are read.

For a file of your own, say with `Fields` which of its columns holds what, and pass the tasks themselves:

    tasks = JsonlTasks("mine", "problems.jsonl", Fields(prompt="text", answer="final", difficulty="grade"))
    env = gym.make("tir/MathCode-v0", tasks=tasks)

What the verifier is given: an answer is one string, or a list of accepted alternatives of which any one is right.
Several values that must all be given are one string, `1, 2`, in any order. How far a number may be off is
`gold.data["tolerance"]`, an absolute distance; without it numbers are exact.
"""

import re
from collections.abc import Mapping
from typing import Any

from tir_gym.core.task import Fields, Gold
from tir_gym.scoring.math import last_boxed

__all__ = ["BENCHMARKS"]


def after_hashes(text: Any) -> str:
    """GSM8K keeps the final answer after `####`. Raises `ValueError` where there is none."""
    _, found, answer = str(text).rpartition("####")
    if not found:
        raise ValueError("the answer has no '####' line")
    return answer.strip()


def worked_steps(text: Any) -> str | None:
    """GSM8K's worked solution as a program: its `<<5*4=20>>` marks in order, exact, the last one the answer.

    None where a mark holds more than arithmetic, or where the last one is not the final answer.
    """
    marks = re.findall(r"<<([^<>=]+)=([^<>]+)>>", str(text))
    if not marks or marks[-1][1].strip() != after_hashes(text).replace(",", ""):
        return None
    steps = [_exact(expression) for expression, _ in marks]
    return None if None in steps else "\n".join(["from fractions import Fraction", *filter(None, steps)])


def _exact(expression: str) -> str | None:
    """Arithmetic with its numbers as fractions; None for anything else."""
    if not re.fullmatch(r"[\d.+\-*/() ]+", expression):
        return None
    return re.sub(r"\d*\.?\d+", r'Fraction("\g<0>")', expression.strip())


def written(value: Any) -> Any:
    """A gold answer as text: 27.0 as `27`, without dollar signs round formulas; a list of them stays a list.

    Raises `ValueError` for an empty one.
    """
    if isinstance(value, list | tuple):
        return [written(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = re.sub(r"(?<!\\)\$", "", str(value)).strip()
    if not text:
        raise ValueError("the answer is empty: leave the row out")
    return text


def boxed(solution: Any) -> str:
    r"""What the last `\boxed{...}` of a worked solution holds. Raises `ValueError` where there is none."""
    text = str(solution).replace(r"\fbox", r"\boxed")
    braced = re.sub(r"\\boxed\s+([^\s{}$]+)", r"\\boxed{\1}", text)
    answer = last_boxed(braced)
    if answer is None:
        raise ValueError(r"the solution has no \boxed{...}, which would be its answer: leave the row out")
    return str(written(answer))


def grade(level: Any) -> int:
    """The number in `Level 5` or `5`; 0 (unknown) for `Level ?`."""
    found = re.search(r"\d+", str(level))
    return int(found[0]) if found else 0


def with_story(row: Mapping[str, Any]) -> str:
    """SVAMP: the story, ended by a full stop where it has none, and the question."""
    body, question = str(row["Body"]).strip(), str(row["Question"]).strip()
    stop = "" if body.endswith((".", "?", "!", ",")) else "."
    return f"{body}{stop} {question}"


def equation(row: Mapping[str, Any]) -> str | None:
    """SVAMP's equation as a program; None where it is more than arithmetic."""
    exact = _exact(str(row["Equation"]))
    return None if exact is None else f"from fractions import Fraction\n{exact}"


def with_context(row: Mapping[str, Any]) -> str:
    """OlympiadBench: what is given for several questions, where there is such, and the question."""
    context = row.get("context")
    return f"{context}\n\n{row['question']}" if context else str(row["question"])


def olympiad_gold(row: Mapping[str, Any]) -> Gold:
    """OlympiadBench: one answer, several that all belong to it, or alternatives; with its unit and its tolerance.

    A unit may be given or left out: both spellings are accepted. Where every value has a tolerance of its own, the
    smallest counts. Raises `ValueError` for a row without a final answer (a proof).
    """
    finals = row["final_answer"]
    if not finals:
        raise ValueError("there is no final answer (a proof?): leave the row out")
    texts = written(finals if isinstance(finals, list) else [finals])
    if row.get("is_multiple_answer"):
        values = [value for text in texts for value in _top_level(text)]
        accepted = [", ".join(values)]
    else:
        values, accepted = texts, list(texts)
    if unit := str(row.get("unit") or "").strip():
        named = [value + ("" if unit.startswith("^") else " ") + unit for value in values]
        accepted += [", ".join(named)] if row.get("is_multiple_answer") else named
    tolerances = re.findall(r"[^\s,]+", str(row.get("error") or ""))
    data = {"tolerance": min(map(float, tolerances))} if tolerances else {}
    return Gold(accepted if len(accepted) > 1 else accepted[0], data=data)


def _top_level(text: str) -> list[str]:
    """The parts between the commas that no bracket encloses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


_WRAPPED = re.compile(
    r"Solve the following math problem.*?\n\n(.*?)(?:\n\nRemember to put your answer on .*)?", flags=re.DOTALL
)


def last_question(messages: Any) -> str:
    """The text of the last user message, without the instructions that DAPO's files wrap round each problem."""
    if isinstance(messages, str):
        return messages
    text = str([message for message in messages if message["role"] == "user"][-1]["content"])
    wrapped = _WRAPPED.fullmatch(text)
    return wrapped[1] if wrapped else text


BENCHMARKS = {
    "aime": Fields(prompt="problem", answer="answer", id="id", read_answer=written),
    "amc": Fields(prompt="problem", answer="answer", id="id", read_answer=written),
    "college_math": Fields(prompt="question", answer="answer", family="data_topic", read_answer=written),
    "dapo": Fields(prompt="prompt", answer="reward_model.ground_truth", read_prompt=last_question, read_answer=written),
    "deepscaler": Fields(prompt="problem", answer="answer", read_answer=written),
    "gsm8k": Fields(
        prompt="question", answer="answer", plan="answer", read_answer=after_hashes, read_plan=worked_steps
    ),
    "math": Fields(
        prompt="problem",
        answer="solution",
        difficulty="level",
        family="type",
        read_difficulty=grade,
        read_answer=boxed,
    ),
    "math500": Fields(
        prompt="problem",
        answer="answer",
        difficulty="level",
        family="subject",
        read_difficulty=grade,
        read_answer=written,
    ),
    "minerva": Fields(prompt="problem", answer="solution", id="idx", family="type", read_answer=boxed),
    "olympiadbench": Fields(
        prompt="*", answer="*", id="id", family="subfield", read_prompt=with_context, read_answer=olympiad_gold
    ),
    "svamp": Fields(
        prompt="*",
        answer="Answer",
        id="ID",
        family="Type",
        plan="*",
        read_prompt=with_story,
        read_answer=written,
        read_plan=equation,
    ),
}
"""Known files, by the columns that they were published with; levels are the benchmark's own (1 to 5 in MATH).

Tried on the published files: aime, amc, college_math, gsm8k, math500, olympiadbench, svamp. Written from the published
formats, without a file at hand: dapo, deepscaler, math, minerva.
"""
