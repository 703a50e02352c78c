"""Task sets: pure maps from (seed, index) to a task, whatever they are read from."""

import csv
import functools
import gzip
import itertools
import json
import pickle
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.core.task import (
    SPLITS,
    Draft,
    Fields,
    Filtered,
    GeneratedTasks,
    Gold,
    JsonlTasks,
    Mixture,
    Task,
    content_hash,
    split_of,
)

ROOT = Path(__file__).parents[2]
seeds = st.integers(0, 2**63 - 1)
indices = st.integers(0, 10**6)


def sums(rng: random.Random, level: int) -> Draft:
    left, right = rng.randrange(10**level), rng.randrange(10**level)
    return Draft(f"What is {left} + {right}?", Gold(str(left + right)), "sums", {"level": level})


def one_prompt(rng: random.Random, level: int) -> Draft:
    return Draft("The only question", Gold("1"))


def is_even(task: Task) -> bool:
    return int(task.gold.answer) % 2 == 0


def never(task: Task) -> bool:
    return False


def at_least(level: int, task: Task) -> bool:
    return task.difficulty >= level


@dataclass(frozen=True)
class Shorter:
    limit: int

    def __call__(self, task: Task) -> bool:
        return len(task.prompt) < self.limit


def after_hashes(text: str) -> str:
    return text.split("####")[1].strip()


# --- contents and splits ----------------------------------------------------------------------------------------------
def test_split_shares_add_up():
    assert sum(SPLITS.values()) == 100


@given(st.text(max_size=20))
def test_a_content_is_the_same_in_any_case_and_spacing(prompt):
    again = f"  {prompt.upper().lower()}\n\t"
    assert (content_hash(again) == content_hash(prompt)) == (again.casefold().split() == prompt.casefold().split())
    assert content_hash(prompt + "!") != content_hash(prompt)


def test_splits_are_pinned():
    assert [split_of(f"question {number}") for number in range(12)] == [
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "test",
        "train",
        "test",
        "train",
        "train",
        "train",
    ]
    assert content_hash("What is 1 + 1?") == "9531abdef0ff67be"


def test_the_public_part_of_a_task_has_no_gold():
    task = Task("t/0", "p", gold=Gold("42", plan=[1], data={"a": 42}))
    assert task.public.gold == Gold()
    assert "42" not in repr(task.public) + repr(task)
    assert task.gold.answer == "42"


# --- generated tasks --------------------------------------------------------------------------------------------------
@given(seed=seeds, index=indices, split=st.sampled_from(list(SPLITS)), difficulty=st.sampled_from([None, 1, 10]))
def test_a_generated_task_depends_on_seed_and_index_alone(seed, index, split, difficulty):
    tasks = GeneratedTasks("sums", sums, split=split, difficulty=difficulty)
    random.seed(index)
    before = random.getstate()
    task = tasks.task(seed, index)
    assert random.getstate() == before
    assert GeneratedTasks("sums", sums, split=split, difficulty=difficulty).task(seed, index) == task
    assert (task.seed, task.index, task.split) == (seed, index, split)
    assert tasks.find(task.id) == task


def test_generated_splits_have_no_content_in_common():
    drawn = {
        split: {task.content_hash for task in itertools.islice(GeneratedTasks("sums", sums, split=split), 500)}
        for split in SPLITS
    }
    for one, other in itertools.combinations(SPLITS, 2):
        assert not drawn[one] & drawn[other]
    assert all(len(contents) > 400 for contents in drawn.values())


def test_drawing_and_iterating_go_through_different_tasks():
    tasks = GeneratedTasks("sums", sums, difficulty=9)
    assert len({tasks.draw(seed).prompt for seed in range(50)}) == 50
    assert len({task.prompt for task in itertools.islice(tasks, 50)}) == 50
    assert tasks.draw(3) == tasks.draw(3)
    assert tasks.size is None


def test_difficulty_is_respected_and_varies_where_it_is_open():
    assert {task.difficulty for task in itertools.islice(GeneratedTasks("sums", sums), 200)} == set(range(1, 11))
    for level in (1, 7):
        tasks = list(itertools.islice(GeneratedTasks("sums", sums, difficulty=level), 20))
        assert {(task.difficulty, task.data["level"]) for task in tasks} == {(level, level)}


def test_a_name_may_have_slashes():
    tasks = GeneratedTasks("maths/sums", sums)
    assert tasks.find(tasks.draw(1).id) == tasks.draw(1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"split": "exam"}, "split 'exam' is not one of"),
        ({"difficulty": 0}, "difficulty 0 is not a whole number from 1 to 10"),
        ({"difficulty": 11}, "difficulty 11"),
        ({"difficulty": "hard"}, "difficulty 'hard'"),
    ],
)
def test_wrong_options_are_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        GeneratedTasks("sums", sums, **wrong)


@pytest.mark.parametrize(
    "task_id",
    [
        "",
        "sums",
        "sums/test/any/1/2",
        "other/train/any/1/2",
        "sums/train/3/1/2",
        "sums/train/any/x/2",
        "sums/train/any/1/-2",
    ],
)
def test_an_id_of_another_set_is_an_error_that_shows_what_ids_look_like(task_id):
    with pytest.raises(KeyError, match="its ids are sums/train/any/SEED/INDEX"):
        GeneratedTasks("sums", sums).find(task_id)


def test_a_generator_without_variety_is_an_error():
    splits = [split for split in SPLITS if split != split_of("The only question")]
    with pytest.raises(RuntimeError, match=f"no content for split '{splits[0]}'"):
        GeneratedTasks("one", one_prompt, split=splits[0]).task(0, 0)


# --- tasks from files -------------------------------------------------------------------------------------------------
ROWS = [
    {
        "q": f"Question {number}, with a comma\nand “quotes”?",
        "extra": {"a": f"text #### {number}", "level": number % 10 + 1},
    }
    for number in range(60)
]
NESTED = Fields(prompt="q", answer="extra.a", difficulty="extra.level", read_answer=after_hashes)
FLAT = Fields(prompt="q", answer="a", id="key", family="kind")
FLAT_ROWS = [
    {"q": row["q"], "a": str(n), "key": f"k{n}", "kind": "odd" if n % 2 else "even"} for n, row in enumerate(ROWS)
]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_json(path, rows):
    path.write_text(json.dumps(rows), encoding="utf-8")


def write_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path, rows):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


WRITERS = {"jsonl": write_jsonl, "json": write_json, "csv": write_csv, "parquet": write_parquet}


@pytest.fixture
def nested(tmp_path):
    path = tmp_path / "nested.jsonl"
    write_jsonl(path, ROWS)
    return JsonlTasks("nested", path, NESTED)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file_gives_the_same_tasks(tmp_path, kind, zipped):
    path = tmp_path / f"tasks.{kind}"
    WRITERS[kind](path, FLAT_ROWS)
    if zipped and kind != "parquet":
        path.with_suffix(f".{kind}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_suffix(f".{kind}.gz")
    tasks = JsonlTasks("flat", path, FLAT)
    assert tasks.size == 60
    assert tasks.task(0, 3) == Task(
        id="flat/k3", prompt=ROWS[3]["q"], index=3, split="test", family="odd", gold=Gold(answer="3")
    )
    assert [task.id for task in tasks] == [f"flat/k{number}" for number in range(60)]


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_dotted_names_reach_into_nested_columns(tmp_path, kind):
    path = tmp_path / f"nested.{kind}"
    WRITERS[kind](path, ROWS)
    task = JsonlTasks("nested", path, NESTED).task(0, 7)
    assert (task.id, task.gold.answer, task.difficulty, task.family) == ("nested/7", "7", 8, "nested")


def test_a_byte_order_mark_and_blank_lines_are_no_content(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfq,a\r\nwhy?,because\r\n")
    assert next(iter(JsonlTasks("t", path, Fields("q", "a")))).prompt == "why?"
    path = tmp_path / "t.jsonl"
    path.write_text('\n{"q": "why?", "a": 1}\n\n{"q": "how?", "a": 2}')
    assert [task.gold.answer for task in JsonlTasks("t", path, Fields("q", "a"))] == [1, 2]


def test_a_finite_set_ignores_the_seed_and_ends(nested):
    assert nested.task(5, 2) == nested.task(6, 2)
    assert nested.find(nested.task(0, 2).id) == nested.task(0, 2)
    for index in (60, -1):
        with pytest.raises(IndexError, match=r"nested.jsonl: it has 60"):
            nested.task(0, index)
    with pytest.raises(KeyError, match="its ids are like 'nested/0'"):
        nested.find("nested/60")
    assert {nested.draw(seed).index for seed in range(600)} == set(range(60))


def test_splits_by_hash_cover_a_file_and_do_not_overlap(tmp_path):
    path = tmp_path / "t.jsonl"
    write_jsonl(path, [*ROWS, *ROWS[:5]])
    parts = {split: list(JsonlTasks("t", path, NESTED, split=split, by_hash=True)) for split in SPLITS}
    contents = {split: {task.content_hash for task in tasks} for split, tasks in parts.items()}
    assert sum(map(len, parts.values())) == 65
    assert sum(map(len, contents.values())) == 60
    assert set.union(*contents.values()) == {content_hash(row["q"]) for row in ROWS}
    for split, tasks in parts.items():
        assert [task.index for task in tasks] == list(range(len(tasks)))
        assert {task.split for task in tasks} == {split}
    with pytest.raises(ValueError, match="split 'exam'"):
        JsonlTasks("t", path, NESTED, split="exam", by_hash=True)
    assert JsonlTasks("t", path, NESTED, split="exam").task(0, 0).split == "exam"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"q": "x"}, "no column 'extra.level'; it has q"),
        ({"q": "x", "extra": {"level": 1}}, "no column 'extra.a'; it has q, extra"),
        ({"q": "x", "extra": "flat"}, "no column 'extra.level'"),
        ({"extra": {"a": "#### 1", "level": 1}}, "no column 'q'; it has extra"),
        ({"q": None, "extra": {"a": "#### 1", "level": 1}}, "column 'q': expected text, found None"),
        ({"q": " ", "extra": {"a": "#### 1", "level": 1}}, "column 'q': expected text"),
        ({"q": ["x"], "extra": {"a": "#### 1", "level": 1}}, "column 'q': expected text"),
        ({"q": "x", "extra": {"a": "no marks", "level": 1}}, "column 'extra.a': list index out of range"),
        ({"q": "x", "extra": {"a": None, "level": 1}}, "column 'extra.a': there is no value"),
        ({"q": "x", "extra": {"a": 5, "level": 1}}, "column 'extra.a': 'int' object has no attribute"),
        ({"q": "x", "extra": {"a": "#### 1", "level": "hard"}}, "column 'extra.level': invalid literal"),
        ({"q": "x", "extra": {"a": "#### 1", "level": 11}}, "column 'extra.level': difficulty 11"),
        ([1, 2], "expected an object, found list"),
    ],
)
def test_a_row_that_does_not_fit_is_named_with_file_and_field(tmp_path, row, said):
    path = tmp_path / "bad.jsonl"
    write_jsonl(path, [ROWS[0], ROWS[1], row])
    tasks = JsonlTasks("bad", path, NESTED)
    with pytest.raises(ValueError) as caught:
        tasks.task(0, 0)
    assert str(caught.value).startswith(f"{path}, row 2")
    assert str(caught.value).count(str(path)) == 1
    assert said in str(caught.value)


def test_a_line_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"q": "x", "a": 1}\n{"q": ')
    with pytest.raises(ValueError, match=r"bad.jsonl, row 1: not JSON"):
        list(JsonlTasks("bad", path, Fields("q", "a")))
    path = tmp_path / "bad.json"
    path.write_text('{"q": "x", "a": 1}')
    with pytest.raises(ValueError, match=r"bad.json: expected a list of objects, found dict"):
        list(JsonlTasks("bad", path, Fields("q", "a")))


def test_a_file_that_is_missing_empty_or_of_another_kind_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone.jsonl"):
        list(JsonlTasks("t", tmp_path / "gone.jsonl", FLAT))
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ValueError, match=r"empty.jsonl holds no task of split 'test'"):
        list(JsonlTasks("t", tmp_path / "empty.jsonl", FLAT))
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(ValueError, match=r"t.xlsx: the file type must be .jsonl, .json, .csv, .tsv or .parquet"):
        list(JsonlTasks("t", tmp_path / "t.xlsx", FLAT))


def test_two_rows_with_one_id_are_an_error_at_the_first_task(tmp_path):
    path = tmp_path / "twice.jsonl"
    write_jsonl(path, [*FLAT_ROWS[:4], FLAT_ROWS[1]])
    with pytest.raises(ValueError, match=r"twice.jsonl, rows 1 and 4: two tasks have the id 'flat/k1'"):
        JsonlTasks("flat", path, FLAT).task(0, 0)


# --- sets made of sets ------------------------------------------------------------------------------------------------
@pytest.fixture
def mixture(nested):
    return Mixture([GeneratedTasks("sums", sums), nested], [3, 1])


def test_a_mixture_draws_from_its_parts_by_weight(mixture):
    families = [mixture.draw(seed).family for seed in range(400)]
    assert 60 < families.count("nested") < 140
    assert families.count("nested") + families.count("sums") == 400
    assert mixture.size is None
    assert mixture.name == "sums+nested"


@given(seed=seeds, index=indices)
def test_a_mixture_is_pure_and_finds_its_tasks(seed, index):
    mixture = Mixture([GeneratedTasks("sums", sums), GeneratedTasks("more", sums, split="test")])
    task = mixture.task(seed, index)
    assert mixture.task(seed, index) == task
    assert mixture.find(task.id) == task


def test_a_mixture_says_what_it_does_not_know(mixture):
    with pytest.raises(KeyError, match=r"no task 'x' in any of \['sums', 'nested'\]"):
        mixture.find("x")
    for parts, weights in (([], None), ([mixture], [1, 2]), ([mixture], [0]), ([mixture], [-1])):
        with pytest.raises(ValueError, match="a positive weight for each"):
            Mixture(parts, weights)


def test_a_filtered_finite_set_is_finite(nested):
    even = Filtered(nested, is_even)
    assert even.size == 30
    assert [int(task.gold.answer) for task in even] == list(range(0, 60, 2))
    assert even.find("nested/4").gold.answer == "4"
    for index in (30, -1):
        with pytest.raises(IndexError, match="30 of its tasks pass"):
            even.task(0, index)
    with pytest.raises(KeyError, match="does not pass the filter"):
        even.find("nested/5")


@given(seed=seeds, index=indices)
def test_a_filtered_infinite_set_draws_until_a_task_passes(seed, index):
    even = Filtered(GeneratedTasks("sums", sums), is_even)
    task = even.task(seed, index)
    assert is_even(task)
    assert even.task(seed, index) == task == even.find(task.id)
    assert even.size is None


def test_a_filter_that_nothing_passes_is_an_error(nested, monkeypatch):
    with pytest.raises(ValueError, match="no task of 'nested' passes the filter"):
        Filtered(nested, never)
    with pytest.raises(ValueError, match="none passes the filter"):
        Filtered(GeneratedTasks("one", one_prompt, split=split_of("The only question")), never).task(0, 0)


# --- identity ---------------------------------------------------------------------------------------------------------
def test_equal_fingerprints_mean_equal_tasks(tmp_path):
    def fingerprint(rows, fields=FLAT, **options):
        path = tmp_path / "t.jsonl"
        write_jsonl(path, rows)
        return JsonlTasks("flat", path, fields, **options).fingerprint

    def changed(**values):
        return [{**FLAT_ROWS[0], **values}, *FLAT_ROWS[1:]]

    prints = [
        fingerprint(FLAT_ROWS),
        fingerprint(changed(a="7")),
        fingerprint(changed(a="O")),
        fingerprint(changed(a="o")),
        fingerprint(changed(a=0)),
        fingerprint(changed(q="Another?")),
        fingerprint(changed(q=ROWS[0]["q"].upper())),
        fingerprint(changed(key="k")),
        fingerprint(changed(kind="strange")),
        fingerprint(FLAT_ROWS[:-1]),
        fingerprint(FLAT_ROWS[::-1]),
        fingerprint(FLAT_ROWS, split="train"),
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint(FLAT_ROWS) == prints[0]


def test_fingerprints_of_sets_of_sets_follow_parts_weights_and_filters(nested):
    generated = GeneratedTasks("sums", sums)
    sets = [
        generated,
        GeneratedTasks("sums", sums, split="test"),
        GeneratedTasks("sums", sums, difficulty=3),
        GeneratedTasks("Sums", sums),
        nested,
        Mixture([generated, nested]),
        Mixture([nested, generated]),
        Mixture([generated, nested], [1, 2]),
        Filtered(generated, is_even),
        Filtered(generated, functools.partial(at_least, 3)),
        Filtered(generated, functools.partial(at_least, 4)),
        Filtered(generated, Shorter(20)),
        Filtered(generated, Shorter(30)),
        Filtered(nested, is_even),
        Filtered(nested, lambda task: task.index > 3),
        Filtered(nested, lambda task: task.index > 4),
    ]
    assert len({tasks.fingerprint for tasks in sets}) == len(sets)
    assert len({repr(tasks) for tasks in sets[:-2]}) == len(sets) - 2
    assert " at 0x" not in "".join(repr(tasks) for tasks in sets)


def test_task_sets_pickle(nested):
    generated = GeneratedTasks("sums", sums)
    list(nested)
    for tasks in (
        generated,
        nested,
        Mixture([generated, nested]),
        Filtered(nested, is_even),
        Filtered(generated, functools.partial(at_least, 3)),
    ):
        data = pickle.dumps(tasks)
        assert b"Question 3" not in data
        twin = pickle.loads(data)
        assert twin.fingerprint == tasks.fingerprint
        assert [twin.draw(seed) for seed in range(10)] == [tasks.draw(seed) for seed in range(10)]


def test_a_fingerprint_is_the_same_in_another_process():
    program = (
        "import functools; from tests.core.test_task import *;"
        "print(Filtered(GeneratedTasks('sums', sums), functools.partial(at_least, 3)).fingerprint)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    here = Filtered(GeneratedTasks("sums", sums), functools.partial(at_least, 3))
    assert done.stdout.strip() == here.fingerprint
