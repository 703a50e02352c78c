"""Published sets: how their files are read, and real questions played from the first search to the verdict."""

import gzip
import json
from collections import Counter

import pytest

from tests.play import make
from tir_gym.core.action import Action, ToolCall
from tir_gym.envs.search_qa import benchmarks
from tir_gym.envs.search_qa.library import library_of
from tir_gym.envs.search_qa.tasks import make_tasks
from tir_gym.retrieval import Bm25, Passage, build
from tir_gym.rollout.collect import play
from tir_gym.rollout.policies import Policy
from tir_gym.scoring.retrieval import recall_at

HOTPOT = {
    "_id": "h1",
    "question": "Were A and B both painters?",
    "answer": "yes",
    "type": "comparison",
    "level": "hard",
    "supporting_facts": [["A", 0], ["B", 0]],
    "context": [["A", ["A was a painter.", " Of ships."]], ["C", ["C sang."]], ["B", ["B was a painter."]]],
}
ON_THE_HUB = {
    **HOTPOT,
    "_id": "h2",
    "question": "And the others?",
    "answer": "no",
    "supporting_facts": {"title": ["C"], "sent_id": [0]},
    "context": {"title": ["A", "C"], "sentences": [["A was a painter.", " Of ships."], ["C sang."]]},
}
MUSIQUE = {
    "id": "2hop__1",
    "question": "Where was the singer born?",
    "answer": "Rome",
    "answer_aliases": ["Roma"],
    "answerable": True,
    "paragraphs": [
        {"idx": 0, "title": "X", "paragraph_text": "X sings.", "is_supporting": True},
        {"idx": 1, "title": "Y", "paragraph_text": "Y is in Rome.", "is_supporting": False},
    ],
}
SQUAD = {
    "data": [
        {
            "title": "Ships",
            "paragraphs": [
                {
                    "context": "Ships sail.",
                    "qas": [
                        {"id": "s1", "question": "What sails?", "is_impossible": False, "answers": [{"text": "Ships"}]}
                    ],
                },
                {
                    "context": "Ships rust.",
                    "qas": [{"id": "s2", "question": "What sings?", "is_impossible": True, "answers": []}],
                },
            ],
        }
    ]
}


def written(path, rows):
    text = json.dumps(rows) if isinstance(rows, dict) else "\n".join(map(json.dumps, rows))
    path.write_text(text, encoding="utf-8")
    return path


def tasks_of(name, path):
    found = make_tasks(f"{name}:{path}", "all", None)
    return [found.task(0, index) for index in range(found.size)]


@pytest.mark.parametrize("name", ["hotpotqa", "2wiki"])
def test_hotpotqa_and_2wiki_bring_a_pool_without_doubles(tmp_path, name):
    first, second = tasks_of(name, written(tmp_path / "f.jsonl", [HOTPOT, ON_THE_HUB]))
    assert (first.gold.answer, first.family, first.difficulty) == ("yes", "comparison", 9)
    pool = {passage.id: passage for passage in benchmarks.pool(tmp_path / "f.jsonl", name)}
    assert sorted((one.title, one.text) for one in pool.values()) == [
        ("A", "A was a painter. Of ships."),
        ("B", "B was a painter."),
        ("C", "C sang."),
    ]
    assert [pool[source].title for source in first.gold.data["sources"]] == ["A", "B"]
    assert [pool[source].title for source in second.gold.data["sources"]] == ["C"]


def test_2wiki_and_hotpotqa_in_other_forms(tmp_path):
    context = [["A", ["A was a painter.", "Of ships."]], ["C", ["C sang."]]]
    as_text = {**HOTPOT, "context": json.dumps(context), "supporting_facts": json.dumps([["A", 1]])}
    columns = {"title": ["A", "C"], "content": [sentences for _, sentences in context]}
    of_flashrag = {
        "id": "dev_7",
        "question": "And the others?",
        "golden_answers": ["no"],
        "metadata": {"type": "bridge", "context": columns, "supporting_facts": {"title": ["C"], "sent_id": [0]}},
    }
    first, second = tasks_of("2wiki", written(tmp_path / "f.jsonl", [as_text, of_flashrag]))
    pool = {passage.id: passage for passage in benchmarks.pool(tmp_path / "f.jsonl", "2wiki")}
    assert [one.text for one in pool.values()] == ["A was a painter. Of ships.", "C sang."]
    assert [pool[source].title for source in first.gold.data["sources"]] == ["A"]
    assert [pool[source].title for source in second.gold.data["sources"]] == ["C"]
    assert (second.gold.answer, second.family, second.id) == ("no", "bridge", "2wiki/dev_7")


def test_musique_and_squad_say_where_there_is_no_answer(tmp_path):
    rows = [MUSIQUE, {**MUSIQUE, "id": "2hop__2", "question": "Where did she die?", "answerable": False}]
    known, unknown = tasks_of("musique", written(tmp_path / "m.jsonl", rows))
    assert known.gold.answer == ["Rome", "Roma"]
    assert (unknown.gold.data["abstain"], len(unknown.gold.data["sources"])) == (True, 1)
    known, unknown = tasks_of("squad2", written(tmp_path / "s.json", SQUAD))
    assert (known.gold.answer, unknown.gold.answer, unknown.gold.data["abstain"]) == ("Ships", "unknown", True)
    assert [known.gold.data["sources"], unknown.gold.data["sources"]] == [["p0.0"], ["p0.1"]]


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("nq", {"id": "q", "question": "Who?", "golden_answers": ["Ada", " ", "Ada"]}),
        ("nq", {"question": "Who?", "answer": ["Ada"]}),
        ("popqa", {"id": 7, "question": "Who?", "possible_answers": '["Ada"]'}),
        ("triviaqa", {"QuestionId": "q", "Question": "Who?", "Answer": {"Value": "Ada", "Aliases": ["Ada"]}}),
        ("bamboogle", {"id": "q", "question": "Who?", "golden_answers": ["Ada"]}),
        ("search_r1", {"question": "Who?", "data_source": "nq", "reward_model": {"ground_truth": {"target": ["Ada"]}}}),
        (
            "search_r1",
            {"extra_info": {"question": "Who?"}, "reward_model": {"ground_truth": {"target": ["Ada"]}}, "prompt": []},
        ),
    ],
)
def test_open_domain_sets_in_their_forms(tmp_path, name, row):
    (task,) = tasks_of(name, written(tmp_path / "f.jsonl", [row]))
    assert (task.prompt, task.gold.answer, task.data) == ("Who?", "Ada", {})


def test_parquet_is_read(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"question": "Who?", "golden_answers": ["Ada"], "data_source": "nq"}]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "f.parquet")
    (task,) = tasks_of("search_r1", tmp_path / "f.parquet")
    assert (task.gold.answer, task.family) == ("Ada", "nq")


def test_sets_in_one_file_may_number_their_rows_alike(tmp_path):
    rows = [{"id": "test_0", "question": f"{name}?", "golden_answers": ["x"], "data_source": name} for name in "ab"]
    found = tasks_of("flashrag", written(tmp_path / "f.jsonl", rows))
    assert [task.id for task in found] == ["flashrag/a/test_0", "flashrag/b/test_0"]


def test_tables_and_nested_files_are_read(tmp_path):
    (tmp_path / "popqa.tsv").write_text('id\tquestion\tpossible_answers\n7\tWho?\t"[""Ada"", ""Ada B""]"\n')
    (task,) = tasks_of("popqa", tmp_path / "popqa.tsv")
    assert (task.id, task.gold.answer) == ("popqa/7", ["Ada", "Ada B"])
    rows = [{"QuestionId": "q", "Question": "Who?", "Answer": {"Value": "Ada", "Aliases": ["Ada B"]}}]
    (tmp_path / "t.json.gz").write_bytes(gzip.compress(json.dumps({"Data": rows, "Version": 1}).encode()))
    (task,) = tasks_of("triviaqa", tmp_path / "t.json.gz")
    assert (task.id, task.gold.answer) == ("triviaqa/q", ["Ada", "Ada B"])


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"id": "q", "golden_answers": ["Ada"]}], "row 0"),
        ([{"id": "q", "question": "Who?", "golden_answers": [""]}], "no answer"),
        ([{"id": "q", "question": "Who?"}], "reward_model"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path, rows, told):
    with pytest.raises(ValueError, match=told):
        tasks_of("nq", written(tmp_path / "f.jsonl", rows))


@pytest.mark.parametrize("source", ["nope:x", "hotpotqa", "hotpotqa:missing.jsonl"])
def test_an_unknown_source_is_refused(source):
    with pytest.raises((ValueError, FileNotFoundError), match=r"tasks=|no file"):
        make_tasks(source, "all", None)


def test_splits_share_a_file_and_never_overlap(tmp_path):
    rows = [{"id": n, "question": f"Question {n}?", "golden_answers": [str(n)]} for n in range(60)]
    path = written(tmp_path / "f.jsonl", rows)
    found = [{task.id for task in make_tasks(f"nq:{path}", split, None)} for split in ("train", "validation", "test")]
    assert sum(map(len, found)) == len(set.union(*found)) == 60
    tasks = make_tasks(f"nq:{path}", "train", None)
    assert tasks.find(tasks.task(0, 3).id) == tasks.task(0, 3)
    with pytest.raises(KeyError):
        tasks.find("nq/none")
    with pytest.raises(IndexError):
        tasks.task(0, 60)


def test_an_open_domain_set_is_searched_in_a_given_index(tmp_path):
    build([Passage("w1", "Ada", "Ada found it."), Passage("w2", "Bob", "Bob lost it.")], tmp_path / "index")
    path = written(tmp_path / "f.jsonl", [{"id": "q", "question": "Who found it?", "golden_answers": ["Ada"]}])
    env = make("tir/SearchQA-v0", tasks=f"nq:{path}", split="all", corpus=str(tmp_path / "index"))
    env.reset(seed=0)
    observation, *_ = env.call("search", {"query": "found"})
    assert "[w1]" in observation
    assert env.step("<answer>Ada</answer>")[1] == 1.0
    env.close()
    with pytest.raises(ValueError, match="corpus"):
        make("tir/SearchQA-v0", tasks=f"nq:{path}", split="all").reset(seed=0)


def test_a_file_of_passages_is_a_corpus(tmp_path, monkeypatch):
    monkeypatch.setenv("TIR_GYM_CACHE", str(tmp_path / "cache"))
    dump = written(tmp_path / "wiki-18.jsonl", [{"id": "0", "contents": '"Ada"\nAda found it.'}])
    path = written(tmp_path / "f.jsonl", [{"id": "q", "question": "Who found it?", "golden_answers": ["Ada"]}])
    env = make("tir/SearchQA-v0", tasks=f"nq:{path}", split="all", corpus=str(dump))
    env.reset(seed=0)
    assert "Doc 1(Title: Ada) [0] Ada found it." in env.call("search", {"query": "found"})[0]
    env.close()
    assert [one.name.startswith("file-wiki-18-") for one in (tmp_path / "cache" / "search_qa").iterdir()] == [True]


class Reader(Policy):
    """Searches for the question, then for the titles that settle it; answers with gold and cites these."""

    def __init__(self, setting, task):
        retriever = library_of(task.data).retriever
        self._sources, self._write = task.gold.data["sources"], setting.protocol.format
        titles = [retriever.get(source).title for source in self._sources]
        self._turns = [
            ToolCall("search", {"query": task.prompt}),
            ToolCall("search", {"query": "?", "queries": titles}),
        ]
        self._gold = task.gold.answer if isinstance(task.gold.answer, str) else task.gold.answer[0]

    def act(self, observation, info):
        if self._turns:
            return self._write(Action(calls=(self._turns.pop(0),)))
        return self._write(Action(answer=self._gold + "".join(f" [{source}]" for source in self._sources)))


def test_real_hotpotqa_questions_are_played_to_the_end(shared_data):
    """With citations, every answer needs both gold paragraphs to have been found by real searches of the pool."""
    path = shared_data / "hotpotqa" / "distractor_first100.jsonl"
    options = {"top_k": 5, "result_chars": 20_000, "citations": True}
    env = make("tir/SearchQA-v0", tasks=f"hotpotqa:{path}", split="all", **options)
    first = Counter()
    for seed in range(50):
        play(env, Reader, seed)
        facts = env.episode.score.evidence
        assert env.rewards[1] == 1.0, (env.episode.task.id, facts)
        assert (facts["citation_precision"], facts["citation_recall"], facts["em"]) == (1.0, 1.0, 1.0)
        assert 1 <= facts["first_source_turn"] <= facts["all_sources_turn"] <= 2
        first[facts["all_sources_turn"]] += 1
    assert first[1] > 20
    env.close()


def test_real_hotpotqa_questions_from_search_to_verdict(shared_data):
    path = shared_data / "hotpotqa" / "distractor_first100.jsonl"
    env = make("tir/SearchQA-v0", tasks=f"hotpotqa:{path}", split="all", top_k=10, result_chars=20_000)
    closed = 0
    recalls = []
    for index in range(100):
        task = env.setting.tasks.task(0, index)
        gold = task.gold.answer if isinstance(task.gold.answer, str) else task.gold.answer[0]
        env.reset(options={"task_id": task.id}, seed=index)
        env.call("search", {"query": task.prompt})
        shown = env.episode.calls[0].facts["hits"]
        recalls.append(recall_at(task.gold.data["sources"], shown, 10))
        reward = env.step(env.setting.protocol.format(Action(answer=gold)))[1]
        guessable = gold in ("yes", "no")
        assert reward == float(not guessable or recalls[-1] == 1.0), task.id
        closed += guessable
    assert closed >= 3
    assert sum(recalls) / 100 > 0.75
    env.close()


def test_real_files_are_read_whole(shared_data):
    counts = {"nq": 200, "triviaqa": 200, "musique": 100, "squad2": 100, "bamboogle": 125}
    for name, count in counts.items():
        path = next((shared_data / "qa").glob(f"{name}_*.jsonl"), shared_data / "qa" / f"{name}.jsonl")
        tasks = tasks_of(name, path)
        assert len(tasks) == count
        assert all(task.gold.answer for task in tasks)
    squad = tasks_of("squad2", shared_data / "qa" / "squad2_100.jsonl")
    assert {bool(task.gold.data.get("abstain")) for task in squad} == {True, False}
    assert isinstance(Bm25.of(benchmarks.pool(shared_data / "qa" / "squad2_100.jsonl", "squad2")), Bm25)
