"""What search costs: BM25, vectors, HTTP, episodes. `--data` points at real text (a folder like `shared/data`).

Prints one line a figure. Processor times of one process where it says so; the machine's load moves the rest.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np

import tests.toys.archive.env as archive
import tir_gym
from benchmarks.common import machine
from tir_gym.retrieval import Bm25, Passage, Retriever, build
from tir_gym.retrieval.encoders import Precomputed, unit
from tir_gym.retrieval.http import Http
from tir_gym.retrieval.server import RetrieverServer

CALL = '<call name="search"><arg name="query">{}</arg></call>'


def real_text(data: Path) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """Paragraphs (title, words) of HotpotQA, SQuAD 2 and what real rollouts retrieved; and real questions."""
    found: dict[tuple[str, str], None] = {}
    questions = []
    for line in (data / "hotpotqa" / "distractor_first100.jsonl").read_text().splitlines():
        row = json.loads(line)
        questions.append(row["question"])
        found |= dict.fromkeys((title, "".join(sentences)) for title, sentences in row["context"])
    for line in (data / "qa" / "squad2_100.jsonl").read_text().splitlines():
        row = json.loads(line)
        found[row["title"], row["context"]] = None
    for path in sorted((data / "search_r1_rollouts").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            text = json.loads(line)["output"]["final_response"]
            pattern = r"Doc \d\(Title: (.*?)\) (.*?)(?=\nDoc \d\(Title|</information>)"
            found |= dict.fromkeys((title.strip('"'), body) for title, body in re.findall(pattern, text, re.DOTALL))
    for name in ("nq_200", "triviaqa_200", "bamboogle", "musique_100"):
        questions += [json.loads(line)["question"] for line in (data / "qa" / f"{name}.jsonl").read_text().splitlines()]
    return [(title, body.split()) for title, body in found], questions


def made_text() -> tuple[list[tuple[str, list[str]]], list[str]]:
    """Paragraphs and questions of invented words that are as often as words are (Zipf)."""
    rng = np.random.default_rng(0)
    often = 1 / np.arange(3, 60_003)
    words = [f"w{number}" for number in rng.choice(60_000, 400_000, p=often / often.sum())]
    paragraphs = [(words[i], words[i : i + 95]) for i in range(0, len(words) - 95, 95)]
    return paragraphs, [" ".join(words[i : i + 9]) for i in range(0, 5_400, 9)]


def passages(paragraphs: list[tuple[str, list[str]]], count: int) -> Iterator[Passage]:
    """The paragraphs, then mixtures of three windows of them."""
    rng = random.Random(0)
    for number in range(count):
        if number < len(paragraphs):
            title, words = paragraphs[number]
        else:
            chosen = [rng.choice(paragraphs) for _ in range(3)]
            starts = [rng.randrange(max(1, len(body) - 32)) for _, body in chosen]
            title = chosen[0][0]
            words = [word for (_, body), at in zip(chosen, starts, strict=True) for word in body[at : at + 32]]
        yield Passage(str(number), title, " ".join(words))


def milliseconds(run: Callable[[str], object], items: Sequence[str]) -> list[float]:
    """Of each call, sorted."""
    taken = []
    for item in items:
        start = time.perf_counter()
        run(item)
        taken.append((time.perf_counter() - start) * 1e3)
    return sorted(taken)


def spread(times: list[float]) -> str:
    return f"p50 {times[len(times) // 2]:.2f} ms, p95 {times[int(len(times) * 0.95)]:.2f} ms"


def _search(index: Retriever, queries: list[str]) -> None:
    index.search(queries, 5)


def bm25(folder: Path, text: tuple[list[tuple[str, list[str]]], list[str]], count: int) -> Bm25:
    paragraphs, queries = text
    start, wall = time.process_time(), time.perf_counter()
    build(passages(paragraphs, 20_000), folder / "small")
    took = time.process_time() - start
    print(f"BM25, 20,000 passages: built in {took:.1f} s of processor, {time.perf_counter() - wall:.1f} s")
    index = build(passages(paragraphs, count), folder / "large")
    index.search(queries[:50], 5)
    print(f"BM25, {count:,} passages, a query: {spread(milliseconds(lambda query: index.search([query], 5), queries))}")
    start = time.process_time()
    index.search(queries, 5)
    print(f"BM25, a batch: {len(queries) / (time.process_time() - start):.0f} queries a second of processor")
    fork = get_context("fork")
    both = [fork.Process(target=_search, args=(index, queries * 2)) for _ in range(2)]
    start = time.perf_counter()
    for process in both:
        process.start()
    for process in both:
        process.join()
    print(f"BM25, two processes on one index: {4 * len(queries) / (time.perf_counter() - start):.0f} queries a second")
    return Bm25.open(folder / "small")


def dense(folder: Path, count: int) -> None:
    from tir_gym.retrieval.dense import Kind, build_dense

    rng = np.random.default_rng(0)
    centres = unit(rng.standard_normal((2_000, 384)).astype(np.float32))
    noise = rng.standard_normal((count, 384)).astype(np.float32) / 12
    vectors = unit(centres[rng.integers(2_000, size=count)] + noise)
    queries = [f"q{number}" for number in range(256)]
    asked = unit(vectors[rng.integers(count, size=256)] + rng.standard_normal((256, 384)).astype(np.float32) / 24)
    encoder = Precomputed(dict(zip(queries, asked.tolist(), strict=True)))
    texts = [Passage(str(number), "", "") for number in range(count)]
    exact: list[set[str]] = []
    kinds: tuple[Kind, ...] = ("flat", "ivf")
    for kind in kinds:
        index = build_dense(texts, folder / kind, encoder, kind=kind, reach=8, vectors=vectors)
        index.search(queries[:8], 5)
        times = milliseconds(lambda query, index=index: index.search([query], 5), queries)
        start = time.perf_counter()
        found = [{hit.id for hit in hits} for hits in index.search(queries, 5)]
        rate = len(queries) / (time.perf_counter() - start)
        exact = exact or found
        right = sum(len(a & b) for a, b in zip(found, exact, strict=True)) / (5 * len(queries))
        print(f"{kind}, {count:,} x 384, a query: {spread(times)}; a batch: {rate:.0f} a second; recall@5 {right:.3f}")


def episodes(index: Retriever, queries: list[str]) -> None:
    """256 episodes that search in one step, against as many posts to a server, each on a connection of its own."""
    number = 256
    archive.CardIndex = lambda cards: index  # type: ignore[assignment, misc, return-value]
    envs = tir_gym.make_vec("toy/Archive-v0", number, max_turns=1_000, max_calls=1_000)
    envs.reset(seed=[0] * number)
    rounds = {
        "all different": [queries[i] for i in range(number)],
        "groups of 8": [queries[i // 8] for i in range(number)],
    }
    context = get_context("fork")
    ready, stop = context.SimpleQueue(), context.SimpleQueue()
    server = context.Process(target=_serve, args=(index, ready, stop))
    server.start()
    address = ready.get()
    for name, asked in rounds.items():
        envs.step([CALL.format(query) for query in asked])
        turns, searches, posts = [], [], []
        for _ in range(5):
            for taken, run in (
                (turns, lambda asked=asked: envs.step([CALL.format(query) for query in asked])),
                (searches, lambda asked=asked: index.search(list(dict.fromkeys(asked)), 1)),
                (posts, lambda asked=asked: [_post(address, query) for query in asked]),
            ):
                start = time.perf_counter()
                run()
                taken.append(time.perf_counter() - start)
        turn, search, post = (statistics.median(taken) for taken in (turns, searches, posts))
        print(
            f"256 episodes, {name}: {number / turn:.0f} searches a second through the environment, "
            f"{number / post:.0f} by single posts ({post / turn:.1f} times); "
            f"{(turn - search) / number * 1e6:.0f} us a turn beyond the search"
        )
    client = Http(address)
    start = time.perf_counter()
    client.search(queries[:number], 1)
    print(f"the same as one batch over HTTP: {number / (time.perf_counter() - start):.0f} a second")
    client.close()
    stop.put(None)
    server.join()
    envs.close()


def _serve(index: Retriever, ready: object, stop: object) -> None:
    with RetrieverServer(index, port=0) as server:
        ready.put(server.address)  # type: ignore[attr-defined]
        stop.get()  # type: ignore[attr-defined]


def _post(address: str, query: str) -> None:
    """As Search-R1's and verl-tool's clients do it."""
    body = json.dumps({"queries": [query], "topk": 1, "return_scores": True}).encode()
    request = urllib.request.Request(f"{address}/retrieve", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        json.load(answer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="real text; invented words without")
    parser.add_argument("--passages", type=int, default=100_000)
    arguments = parser.parse_args()
    print(machine())
    started = "import time, tir_gym; t = time.process_time(); import tir_gym.retrieval; print(time.process_time() - t)"
    done = [
        subprocess.run([sys.executable, "-c", started], capture_output=True, text=True, check=True) for _ in range(3)
    ]
    took = statistics.median(float(one.stdout) for one in done)
    print(f"import of tir_gym.retrieval after tir_gym: {took * 1e3:.0f} ms")
    text = real_text(arguments.data) if arguments.data else made_text()
    with tempfile.TemporaryDirectory() as folder:
        small = bm25(Path(folder), text, arguments.passages)
        episodes(small, text[1])
        try:
            dense(Path(folder), arguments.passages)
        except ModuleNotFoundError as error:
            print(f"LEFT OUT: vectors ({error})")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
