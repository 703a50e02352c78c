"""Benchmarks in their published files: every row becomes a task, and what does not fit is named."""

import json

import pytest

from tests.envs.math_code.measure import run
from tir_gym.core.task import Fields, Gold, JsonlTasks
from tir_gym.envs.math_code.benchmarks import BENCHMARKS, boxed, grade, last_question, olympiad_gold, written
from tir_gym.envs.math_code.tasks import make_tasks
from tir_gym.scoring.math import equivalent

FILES = {
    "aime": ("math/aime24.jsonl", 30),
    "amc": ("math/amc23.jsonl", 40),
    "college_math": ("math/college_math_first60.jsonl", 60),
    "math500": ("math/math500_first100.jsonl", 100),
    "olympiadbench": ("math/olympiadbench_first60.jsonl", 60),
    "svamp": ("math/svamp_first100.jsonl", 100),
    "gsm8k": ("gsm8k/test.jsonl", 200),
}


def accepted(gold: Gold) -> list[str]:
    return gold.answer if isinstance(gold.answer, list) else [gold.answer]


@pytest.fixture(params=FILES)
def published(request, shared_data):
    path, rows = FILES[request.param]
    return make_tasks(f"{request.param}:{shared_data / path}", "test", None), rows


def load(tmp_path, name, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return list(make_tasks(f"{name}:{path}", "test", None))


def test_every_row_of_a_published_file_is_a_task(published):
    tasks, rows = published
    assert tasks.size == rows
    assert len({task.id for task in tasks}) == rows
    assert all(tasks.find(task.id) == task for task in tasks)
    assert all(task.prompt.strip() and task.split == "test" for task in tasks)


def test_every_gold_is_text_that_equals_itself(published):
    for task in published[0]:
        for one in accepted(task.gold):
            assert isinstance(one, str)
            assert equivalent(one, one), one
            assert "$" not in one.replace("\\$", "")


def test_what_a_published_file_says_of_its_tasks_is_kept(published):
    tasks, _ = published
    families = {task.family for task in tasks}
    levels = {task.difficulty for task in tasks}
    match tasks.name:
        case "math500":
            assert levels == {1, 2, 3, 4, 5}
            assert families == {"Algebra"}
        case "olympiadbench":
            assert families == {"Algebra", "Combinatorics", "Geometry", "Number Theory"}
        case "svamp":
            assert families == {"Addition", "Common-Division", "Multiplication", "Subtraction"}
        case "college_math":
            assert families == {"college_math.algebra"}
        case name:
            assert families == {name}
    assert levels == {0} or tasks.name == "math500"


def test_whole_numbers_written_as_floats_become_whole(shared_data):
    for name in ("amc", "svamp"):
        golds = [task.gold.answer for task in make_tasks(f"{name}:{shared_data / FILES[name][0]}", "test", None)]
        assert not [gold for gold in golds if gold.endswith(".0")]


def test_the_equations_of_svamp_are_plans_that_give_the_answers(shared_data):
    tasks = make_tasks(f"svamp:{shared_data / FILES['svamp'][0]}", "test", None)
    assert [run(task.gold.plan)[0] for task in tasks] == [task.gold.answer for task in tasks]
    assert "93 groups. How big is each group" in tasks.task(0, 0).prompt


def test_several_values_are_one_gold_and_a_unit_may_be_left_out(shared_data):
    tasks = make_tasks(f"olympiadbench:{shared_data / FILES['olympiadbench'][0]}", "test", None)
    golds = {task.id: task.gold for task in tasks}
    assert golds["olympiadbench/1664"] == Gold("69, 84")
    assert equivalent("84 and 69", "69, 84")
    assert not equivalent("69", "69, 84")
    assert golds["olympiadbench/1737"] == Gold("(6,3), (9,3), (9,5), (54,5)")
    plain, with_unit = golds["olympiadbench/1760"].answer
    assert with_unit == plain.replace("=90", "=90^{\\circ}")


def test_olympiad_golds_carry_alternatives_units_and_tolerance():
    row = {"final_answer": ["$\\frac{1}{2}$"], "is_multiple_answer": False, "unit": None, "error": None}
    assert olympiad_gold(row) == Gold("\\frac{1}{2}")
    assert olympiad_gold(row | {"final_answer": ["1", "$x=1$"]}) == Gold(["1", "x=1"])
    assert olympiad_gold(row | {"unit": "m/s", "error": "1e-2"}) == Gold(
        ["\\frac{1}{2}", "\\frac{1}{2} m/s"], data={"tolerance": 0.01}
    )
    several = {"final_answer": ["$2.5$,$(1, 3)$"], "is_multiple_answer": True, "unit": "cm", "error": "0.1, 0.02"}
    assert olympiad_gold(several) == Gold(["2.5, (1, 3)", "2.5 cm, (1, 3) cm"], data={"tolerance": 0.02})


def test_math_and_minerva_take_the_last_box_of_the_solution(tmp_path):
    row = {
        "problem": "p",
        "level": "Level 5",
        "type": "Geometry",
        "solution": "so $\\boxed{1}$, no, $\\boxed{\\frac{1}{2}}$.",
    }
    (task,) = load(tmp_path, "math", row)
    assert (task.gold.answer, task.difficulty, task.family) == ("\\frac{1}{2}", 5, "Geometry")
    (task,) = load(tmp_path, "minerva", row | {"idx": 7})
    assert (task.gold.answer, task.id) == ("\\frac{1}{2}", "minerva/7")
    assert [boxed(text) for text in ("\\boxed 2", "\\fbox{3}", "\\boxed{\\{1,2\\}}")] == ["2", "3", "\\{1,2\\}"]
    assert [grade(level) for level in ("Level 5", "Level ?", 3, "2")] == [5, 0, 3, 2]


def test_dapo_and_deepscaler_are_read_from_their_columns(tmp_path):
    wrapped = (
        "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
        "$Answer (without quotes) where $Answer is the answer to the problem.\n\nWhat is $1+1$?\n\nSay it.\n\n"
        'Remember to put your answer on its own line after "Answer:".'
    )
    messages = [{"role": "user", "content": wrapped}]
    (task,) = load(tmp_path, "dapo", {"prompt": messages, "reward_model": {"ground_truth": "2"}})
    assert (task.prompt, task.gold.answer) == ("What is $1+1$?\n\nSay it.", "2")
    assert last_question([{"role": "user", "content": "Plain?"}]) == last_question("Plain?") == "Plain?"
    (task,) = load(tmp_path, "deepscaler", {"problem": "p", "answer": "$\\pi$", "solution": ""})
    assert task.gold.answer == "\\pi"


def test_golds_are_written_as_text():
    assert [written(value) for value in (27.0, 0.5, 12, "$x$", "\\$5", ["1", 2.0])] == [
        "27", "0.5", "12", "x", "\\$5", ["1", "2"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("math", {"problem": "p", "level": "Level 1", "type": "t", "solution": "none"}, "'solution'.*boxed.*leave"),
        ("college_math", {"question": "p", "answer": "$$", "data_topic": "t"}, "'answer'.*empty: leave"),
        ("svamp", {"Body": "b", "Answer": 1.0, "ID": "x", "Type": "t"}, "no column 'Question'; it has Body.*Fields"),
        ("olympiadbench", {"id": 1, "question": "q", "final_answer": None, "subfield": "s"}, "proof.*leave"),
        ("olympiadbench", {"id": 1, "question": "q", "final_answer": ["1"], "subfield": "s", "error": "few"}, "'few'"),
        ("aime", {"id": 1, "Problem": "p", "answer": "1"}, "no column 'problem'; it has id, Problem.*Fields"),
        ("dapo", {"prompt": [], "reward_model": {"ground_truth": "2"}}, "'prompt'"),
    ],
)
def test_a_row_that_does_not_fit_is_named_with_its_mend(tmp_path, name, row, message):
    with pytest.raises(ValueError, match=rf"rows\.jsonl, row 0.*{message}"):
        load(tmp_path, name, row)


def test_an_unknown_benchmark_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"NAME one of .*aime.*svamp"):
        make_tasks("aime24:x", "test", None)
    assert set(FILES) | {"dapo", "deepscaler", "math", "minerva"} == set(BENCHMARKS)


def test_a_file_of_ones_own_needs_its_columns_named(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text('{"text": "1+1?", "final": 2, "grade": 3}\n')
    (task,) = JsonlTasks("mine", path, Fields(prompt="text", answer="final", difficulty="grade"))
    assert (task.prompt, task.gold.answer, task.difficulty) == ("1+1?", 2, 3)
