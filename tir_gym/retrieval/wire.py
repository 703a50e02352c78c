"""The four ways in which search servers are asked, as published: one class each, used by client and server.

| protocol | path | request | answer |
|---|---|---|---|
| `search-r1` | `/retrieve` | `queries`, `topk`, `return_scores` | `result`: a list of `{document, score}` a query |
| `skyrl` | `/retrieve` | `query`, `topk`, `return_scores` | `result`: one such list in a list |
| `gem` | `/retrieve` | MessagePack `query`, `topk`, `return_scores` | MessagePack `result`: a flat list |
| `research` | `/batch_search`, `/search` | `query`, `top_n`, `return_score` | `[documents, scores]` or documents |

A document has `id` and `contents` (quoted title, newline, text); ours has `title` and `text`, too.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tir_gym.core.interfaces import Hit
from tir_gym.retrieval import msgpack
from tir_gym.retrieval.formats import joined_contents, split_contents

PROTOCOLS = ("search-r1", "skyrl", "gem", "research")

JSON, MSGPACK = "application/json", "application/msgpack"


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as a server understands it; `single`: the answer is of one query, not of a list."""

    protocol: str
    queries: list[str]
    k: int
    scores: bool
    single: bool = False


def takes_batches(protocol: str) -> bool:
    """Whether several queries fit into one request."""
    return protocol in ("search-r1", "research")


# --- the client's side -----------------------------------------------------------------------------------------------
def path_of(protocol: str) -> str:
    """Where a client of this protocol posts."""
    return "/batch_search" if protocol == "research" else "/retrieve"


def request_body(protocol: str, queries: Sequence[str], k: int) -> tuple[str, bytes]:
    """Content type and body of a request for `k` hits with scores."""
    queries = [_sendable(query) for query in queries]
    match protocol:
        case "search-r1":
            return JSON, _json({"queries": queries, "topk": k, "return_scores": True})
        case "skyrl":
            return JSON, _json({"query": queries[0], "topk": k, "return_scores": True})
        case "gem":
            return MSGPACK, msgpack.packb({"query": queries[0], "topk": k, "return_scores": True})
    return JSON, _json({"query": queries, "top_n": k, "return_score": True})


def hits_of(protocol: str, body: bytes, count: int, k: int) -> list[list[Hit]]:
    """The hits for each of `count` queries. Raises `ValueError` for an answer of another form."""
    try:
        answer = msgpack.unpackb(body) if protocol == "gem" else json.loads(body)
        if protocol == "research":
            rows = _research_rows(answer)
        else:
            rows = [answer["result"]] if protocol == "gem" else answer["result"]
        if len(rows) != count:
            raise ValueError(f"it has {len(rows)} lists of hits for {count} queries")
        return [_hits(row)[:k] for row in rows]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"it is no answer of the protocol {protocol!r} ({type(error).__name__}: {error})") from None


def _research_rows(answer: Any) -> list[Any]:
    """`[documents, scores]` of a batch, or documents alone, as rows of `{document, score}`."""
    scored = (
        len(answer) == 2 and answer[1] and all(isinstance(score, int | float) for row in answer[1] for score in row)
    )
    if not scored:
        return list(answer)
    return [
        [{"document": document, "score": score} for document, score in zip(documents, scores, strict=True)]
        for documents, scores in zip(*answer, strict=True)
    ]


def _hits(row: Sequence[Any]) -> list[Hit]:
    """One query's hits; where the server gives no scores its order stands, as 1 / rank."""
    found = []
    for rank, item in enumerate(row, 1):
        wrapped = isinstance(item, Mapping) and "document" in item
        document, score = (item["document"], item.get("score")) if wrapped else (item, None)
        fields = {"contents": document} if isinstance(document, str) else document
        title, text = fields.get("title"), fields.get("text")
        if title is None or text is None:
            title, text = split_contents(fields["contents"])
        name = fields.get("id")
        if name is None:
            name = hashlib.blake2b(f"{title}\n{text}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        found.append(Hit(str(name), 1 / rank if score is None else round(float(score), 5), str(title), str(text)))
    return sorted(found, key=lambda hit: (-hit.score, hit.id))


# --- the server's side -----------------------------------------------------------------------------------------------
def read_request(path: str, content_type: str, body: bytes, default_k: int) -> Ask:
    """What a request asks, by path, content type and keys. Raises `ValueError` that says what is wrong with it."""
    packed = not content_type.startswith(JSON) and body.lstrip()[:1] != b"{"
    fields = msgpack.unpackb(body) if packed else json.loads(body)
    if not isinstance(fields, dict):
        raise ValueError("the body must be an object")
    if path in ("/search", "/batch_search"):
        k, scores, single = _depth(fields, ("top_n",), default_k), _flag(fields, "return_score"), path == "/search"
        return Ask("research", [_text(fields)] if single else _texts(fields, "query"), k, scores, single)
    k, scores = _depth(fields, ("topk_rerank", "topk"), default_k), _flag(fields, "return_scores")
    if "queries" in fields:
        return Ask("search-r1", _texts(fields, "queries"), k, scores)
    return Ask("gem" if packed else "skyrl", [_text(fields)], k, scores)


def answer_body(ask: Ask, found: Sequence[Sequence[Hit]]) -> tuple[str, bytes]:
    """Content type and body of the answer."""
    documents = [[_document(hit) for hit in hits] for hits in found]
    scores = [[hit.score for hit in hits] for hits in found]
    if ask.protocol == "research":
        if ask.single:
            return JSON, _json([documents[0], scores[0]] if ask.scores else documents[0])
        return JSON, _json([documents, scores] if ask.scores else documents)
    if ask.protocol == "gem":
        rows = zip(documents[0], scores[0], strict=True)
        result = [{"document": document, "score": score if ask.scores else None} for document, score in rows]
        return MSGPACK, msgpack.packb({"result": result})
    if not ask.scores:
        return JSON, _json({"result": documents})
    paired = [
        [{"document": document, "score": score} for document, score in zip(*row, strict=True)]
        for row in zip(documents, scores, strict=True)
    ]
    return JSON, _json({"result": paired})


def _document(hit: Hit) -> dict[str, str]:
    contents = joined_contents(hit.title, hit.text)
    return {"id": hit.id, "contents": contents, "title": hit.title, "text": hit.text}


def _text(fields: Mapping[str, Any]) -> str:
    if not isinstance(query := fields.get("query"), str):
        raise ValueError("`query` must be a string (or send `queries`, a list of strings)")
    return query


def _texts(fields: Mapping[str, Any], key: str) -> list[str]:
    texts = fields.get(key)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"`{key}` must be a list of strings")
    return texts


def _depth(fields: Mapping[str, Any], keys: Sequence[str], default: int) -> int:
    value = next((fields[key] for key in keys if fields.get(key) is not None), default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000:
        raise ValueError(f"{keys[-1]}={value!r} must be a whole number from 1 to 1000")
    return value


def _flag(fields: Mapping[str, Any], key: str) -> bool:
    value = fields.get(key) or False
    if not isinstance(value, bool):
        raise ValueError(f"{key}={value!r} must be true or false")
    return value


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
