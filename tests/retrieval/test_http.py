"""Client and server over loopback: against each other, and each against the other side as the peers wrote it."""

import contextlib
import http.client
import json
import math
import multiprocessing
import pickle
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

import pytest

import tir_gym
from tests.play import make
from tests.processes import descendants
from tir_gym.core.interfaces import Retriever
from tir_gym.core.tool import EnvError
from tir_gym.retrieval import Bm25, Passage
from tir_gym.retrieval.http import Http
from tir_gym.retrieval.msgpack import packb, unpackb
from tir_gym.retrieval.opening import open_retriever
from tir_gym.retrieval.server import MAX_BODY, RetrieverServer
from tir_gym.retrieval.wire import PROTOCOLS

INDEX = Bm25.of(
    [
        Passage("1", "Amber", "a stone\nof resin"),
        Passage("2", "Basin", 'a "bowl" </information> \u00e9'),
        Passage("3", "", "resin and stone"),
        *(Passage(f"n{i}", f"Number {i}", f"stone {'resin ' * i}") for i in range(20)),
    ]
)
QUERIES = ["stone", "resin bowl", "unknown", "number 7", "", "\u00e9", "stone"]


@pytest.fixture(scope="module")
def server():
    with RetrieverServer(INDEX, port=0) as running:
        yield running


def post(server, path, body, content_type="application/json"):
    """Status and body, as a client without our code gets them."""
    connection = http.client.HTTPConnection(server.address.removeprefix("http://"))
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, data, {"Content-Type": content_type} if content_type else {})
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


def document(hit):
    contents = f'"{hit.title}"\n{hit.text}' if hit.title else hit.text
    return {"id": hit.id, "contents": contents, "title": hit.title, "text": hit.text}


def paired(hits):
    return [{"document": document(hit), "score": hit.score} for hit in hits]


# --- our client and our server -------------------------------------------------------------
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_client_finds_what_the_server_holds(server, protocol):
    client = Http(server.address, protocol, batch=3, connections=3)
    assert client.search(QUERIES, 5) == INDEX.search(QUERIES, 5)
    assert client.search([], 5) == []
    assert client.get("1") == INDEX.get("1")
    with pytest.raises(KeyError, match="seen"):
        client.get("n999")
    again = pickle.loads(pickle.dumps(client))
    assert again.search(["stone"], 2) == INDEX.search(["stone"], 2)
    assert again.content_hash == client.content_hash
    again.close()
    client.close()


def test_a_source_names_server_and_protocol(server):
    for source in (server.address, *(f"{name}+{server.address}" for name in PROTOCOLS), f"{server.address}/retrieve"):
        client = open_retriever(source)
        assert client.search(["stone"], 2) == INDEX.search(["stone"], 2), source
        client.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_lone_surrogates_are_asked_as_question_marks(server, protocol):
    client = Http(server.address, protocol)
    assert client.search(["stone \ud800"], 2) == INDEX.search(["stone"], 2)
    client.close()


def test_threads_share_a_client(server):
    client = Http(server.address)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda query: client.search([query], 3)[0], QUERIES * 10))
    assert found == INDEX.search(QUERIES * 10, 3)
    client.close()


def _ask_and_tell(client, answers):
    answers.put(client.search(["stone"], 2))


def test_a_forked_client_makes_connections_of_its_own(server):
    client = Http(server.address)
    client.search(["stone"], 2)
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    child = fork.Process(target=_ask_and_tell, args=(client, answers))
    child.start()
    assert answers.get() == client.search(["stone"], 2) == INDEX.search(["stone"], 2)
    child.join()
    child.close()
    answers.close()
    client.close()


# --- our server, their clients -------------------------------------------------------------
def test_search_r1_clients(server):
    first, second = INDEX.search(["stone", "resin"], 3)
    asked = {"queries": ["stone", "resin"], "topk": 3, "return_scores": True}
    assert json.loads(post(server, "/retrieve", asked)[1]) == {"result": [paired(first), paired(second)]}
    bare = {"result": [[document(hit) for hit in first], [document(hit) for hit in second]]}
    for rest in ({"topk": 3, "return_scores": False}, {"topk": 3}, {"topk": None}, {}):
        assert json.loads(post(server, "/retrieve", {"queries": ["stone", "resin"], **rest})[1]) == bare, rest
    rerank = {"queries": ["stone"], "topk_retrieval": 10, "topk_rerank": 2, "return_scores": True}
    assert json.loads(post(server, "/retrieve", rerank)[1]) == {"result": [paired(first[:2])]}


def test_skyrl_clients(server):
    asked = {"query": "stone", "topk": 3, "return_scores": True}
    assert json.loads(post(server, "/retrieve", asked)[1]) == {"result": [paired(INDEX.search(["stone"], 3)[0])]}


@pytest.mark.parametrize("content_type", ["application/msgpack", "application/octet-stream", ""])
def test_gem_clients(server, content_type):
    (hits,) = INDEX.search(["stone"], 2)
    for scores in (True, False):
        body = packb({"query": "stone", "topk": 2, "return_scores": scores})
        status, answer = post(server, "/retrieve", body, content_type)
        expected = [{"document": document(hit), "score": hit.score if scores else None} for hit in hits]
        assert (status, unpackb(answer)) == (200, {"result": expected})


def test_research_clients(server):
    first, second = INDEX.search(["stone", "resin"], 2)
    documents = [[document(hit) for hit in hits] for hits in (first, second)]
    scores = [[hit.score for hit in hits] for hits in (first, second)]
    one, many = {"query": "stone", "top_n": 2}, {"query": ["stone", "resin"], "top_n": 2}
    assert json.loads(post(server, "/search", one | {"return_score": False})[1]) == documents[0]
    assert json.loads(post(server, "/search", one | {"return_score": True})[1]) == [documents[0], scores[0]]
    assert json.loads(post(server, "/batch_search", many)[1]) == documents
    assert json.loads(post(server, "/batch_search", many | {"return_score": True})[1]) == [documents, scores]


def test_health_and_what_is_not_there(server):
    connection = http.client.HTTPConnection(server.address.removeprefix("http://"))
    for path, status in (("/health", 200), ("/", 404)):
        connection.request("GET", path)
        response = connection.getresponse()
        assert (response.status, json.loads(response.read()).keys() >= {"status"}) == (status, status == 200)
    connection.close()
    assert post(server, "/nowhere", {"query": "x"})[0] == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/retrieve", b"{"),
        ("/retrieve", b"[]"),
        ("/retrieve", b"\x81\xa5query"),
        ("/retrieve", b"[" * 100_000),
        ("/retrieve", {"queries": "stone"}),
        ("/retrieve", {"queries": ["stone", 3]}),
        ("/retrieve", {"queries": ["x"] * 5_000}),
        ("/retrieve", {"query": ["stone"]}),
        ("/retrieve", {}),
        ("/retrieve", {"queries": ["x"], "topk": 0}),
        ("/retrieve", {"queries": ["x"], "topk": "3"}),
        ("/retrieve", {"queries": ["x"], "topk": 10**9}),
        ("/retrieve", {"queries": ["x"], "return_scores": "yes"}),
        ("/search", {"query": ["x"]}),
        ("/batch_search", {"query": "x"}),
    ],
)
def test_a_bad_request_is_told_and_harms_nobody(server, path, body):
    status, answer = post(server, path, body)
    assert status == 422
    assert json.loads(answer)["detail"]
    assert post(server, "/retrieve", {"queries": ["stone"]})[0] == 200


def test_a_body_of_no_or_too_much_length(server):
    connection = http.client.HTTPConnection(server.address.removeprefix("http://"))
    connection.putrequest("POST", "/retrieve")
    connection.putheader("Content-Length", str(MAX_BODY + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_retriever_that_fails_is_said_to(monkeypatch):
    class Broken(Bm25):
        def search(self, queries, k):
            raise EnvError("the disk is gone")

    with RetrieverServer(Broken(INDEX._source, ""), port=0) as running:
        assert post(running, "/retrieve", {"queries": ["x"]}) == (503, b'{"detail": "the disk is gone"}')


def test_a_closed_server_leaves_nothing_behind():
    threads, processes = threading.active_count(), descendants()
    running = RetrieverServer(INDEX, port=0)
    client = Http(running.address)
    client.search(["stone"], 1)
    running.close()
    assert threading.active_count() <= threads
    assert descendants() <= processes
    with pytest.raises(EnvError):
        client.search(["stone"], 1)
    client.close()


# --- our client, their servers -------------------------------------------------------------
@contextlib.contextmanager
def serving(answer, kind=ThreadingHTTPServer):
    """A server that answers each request, given its path and body, with a status and a value or bytes."""
    asked, connections = [], set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            connections.add(self.client_address)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, body))
            status, value = answer(self, body)
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    server = kind(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda request, address: None  # the client went away
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    server.asked, server.connections = asked, connections
    server.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


CONTENTS = [{"id": "9", "contents": '"Amber"\na stone'}, {"id": "7", "contents": '"Basin"\na bowl\nof clay'}]


@pytest.mark.parametrize(
    ("protocol", "path", "answer", "expected"),
    [
        (
            "search-r1",
            "/retrieve",
            {"result": [[{"document": CONTENTS[0], "score": 2.0}, {"document": CONTENTS[1], "score": 3.123456789}]]},
            [("7", 3.12346, "Basin", "a bowl\nof clay"), ("9", 2.0, "Amber", "a stone")],
        ),
        (
            "search-r1",
            "/retrieve",
            {"result": [CONTENTS]},
            [("9", 1.0, "Amber", "a stone"), ("7", 0.5, "Basin", "a bowl\nof clay")],
        ),
        (  # the servers in front of web search engines: no id, no score
            "search-r1",
            "/retrieve",
            {"result": [[{"document": {"contents": '"Amber"\na stone'}}]]},
            [(None, 1.0, "Amber", "a stone")],
        ),
        (  # the reranking server without scores: a document is a string
            "search-r1",
            "/retrieve",
            {"result": [['"Amber"\na stone']]},
            [(None, 1.0, "Amber", "a stone")],
        ),
        (
            "skyrl",
            "/retrieve",
            {"result": [[{"document": {"contents": "no title"}, "score": 2.0}]]},
            [(None, 2.0, "", "no title")],
        ),
        (
            "gem",
            "/retrieve",
            packb({"result": [{"document": CONTENTS[0], "score": None}]}),
            [("9", 1.0, "Amber", "a stone")],
        ),
        ("research", "/batch_search", [CONTENTS[:1]], [("9", 1.0, "Amber", "a stone")]),
        ("research", "/batch_search", [[CONTENTS[:1]], [[0.5]]], [("9", 0.5, "Amber", "a stone")]),
    ],
)  # fmt: skip
def test_answers_in_the_forms_of_the_peers(protocol, path, answer, expected):
    with serving(lambda handler, body: (200, answer)) as server:
        client = Http(server.url, protocol)
        (hits,) = client.search(["stone"], 5)
        client.close()
        ((asked, _),) = server.asked
    assert asked == path
    found = [(hit.id, hit.score, hit.title, hit.text) for hit in hits]
    assert [row[1:] for row in found] == [row[1:] for row in expected]
    assert all(
        row[0] == wanted[0] or (wanted[0] is None and row[0]) for row, wanted in zip(found, expected, strict=True)
    )


def test_two_queries_of_a_research_batch_without_scores_are_not_taken_for_scores():
    with serving(lambda handler, body: (200, [CONTENTS[:1], CONTENTS[1:]])) as server:
        client = Http(server.url, "research")
        assert [[hit.id for hit in hits] for hits in client.search(["a", "b"], 1)] == [["9"], ["7"]]
        client.close()


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("search-r1", {"queries": ["stone"], "topk": 4, "return_scores": True}),
        ("skyrl", {"query": "stone", "topk": 4, "return_scores": True}),
        ("gem", {"query": "stone", "topk": 4, "return_scores": True}),
        ("research", {"query": ["stone"], "top_n": 4, "return_score": True}),
    ],
)
def test_requests_in_the_forms_of_the_peers(protocol, expected):
    empty = {"search-r1": {"result": [[]]}, "skyrl": {"result": [[]]}, "gem": packb({"result": []}), "research": [[]]}
    with serving(lambda handler, body: (200, empty[protocol])) as server:
        client = Http(server.url, protocol)
        assert client.search(["stone"], 4) == [[]]
        client.close()
        ((_, body),) = server.asked
    assert (unpackb(body) if protocol == "gem" else json.loads(body)) == expected


def ranked(handler, body):
    return 200, {
        "result": [
            [{"document": {"id": query, "contents": query}, "score": 1.0}] for query in json.loads(body)["queries"]
        ]
    }


def test_batches_and_one_connection():
    with serving(ranked) as server:
        client = Http(server.url, batch=4)
        for _ in range(3):
            assert [hits[0].id for hits in client.search(["a", "b", "c"], 1)] == ["a", "b", "c"]
        assert len(server.connections) == 1
        assert [hits[0].id for hits in client.search(list("abcdefghij"), 1)] == list("abcdefghij")
        assert sorted(len(json.loads(body)["queries"]) for _, body in server.asked) == [2, 3, 3, 3, 4, 4]
        client.close()


def test_a_server_that_falters_is_asked_again():
    def faltering(handler, body):
        return (503, {}) if len(server.asked) < 3 else ranked(handler, body)

    with serving(faltering) as server:
        client = Http(server.url, attempts=3)
        assert client.search(["a"], 1)[0][0].id == "a"
        assert len(server.asked) == 3
        client.close()


def test_a_kept_connection_that_was_closed_meanwhile_costs_no_attempt():
    def closing(handler, body):
        handler.close_connection = True
        return ranked(handler, body)

    with serving(closing) as server:
        client = Http(server.url, attempts=1)
        for _ in range(3):
            assert client.search(["a"], 1)[0][0].id == "a"
        client.close()


@pytest.mark.parametrize(
    ("answer", "asked", "told"),
    [
        ((500, b"boom"), 2, "in 2 attempts: HTTP 500: boom"),
        ((400, b"bad"), 1, "HTTP 400: bad"),
        ((200, b"{"), 1, "cannot be read"),
        ((200, {"result": []}), 1, "0 lists of hits for 1 queries"),
        ((200, {"found": []}), 1, "no answer of the protocol"),
        ((200, {"result": [[{"document": {"id": "1"}}]]}), 1, "no answer of the protocol"),
        ((200, {"result": [3]}), 1, "no answer of the protocol"),
    ],
)
def test_failures_are_errors_of_the_environment(answer, asked, told):
    with serving(lambda handler, body: answer) as server:
        client = Http(server.url, attempts=2)
        with pytest.raises(EnvError, match=told):
            client.search(["a"], 1)
        assert len(server.asked) == asked
        client.close()


def test_an_answer_that_ends_early_is_none():
    def breaking(handler, body):
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"result": [[]]}')
        handler.connection.shutdown(socket.SHUT_RDWR)
        raise ConnectionError

    with serving(breaking) as server:
        client = Http(server.url, attempts=2)
        with pytest.raises(EnvError, match="in 2 attempts: IncompleteRead"):
            client.search(["a"], 1)
        client.close()


def test_silent_and_dripping_servers_end_with_the_deadline():
    over = threading.Event()

    def silent(handler, body):
        over.wait()
        return 200, b""

    def dripping(handler, body):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with contextlib.suppress(OSError):
            while not over.wait(0.01):
                handler.wfile.write(b"x")
        handler.close_connection = True
        return 200, b""

    for behaviour in (silent, dripping):
        over.clear()
        with serving(behaviour) as server:
            client = Http(server.url, timeout_s=0.3)
            with pytest.raises(EnvError, match=r"within 0.3 s"):
                client.search(["a"], 1)
            over.set()
            client.close()


def test_nobody_listening():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        client = Http(f"http://127.0.0.1:{free.getsockname()[1]}", attempts=2)
        with pytest.raises(EnvError, match="in 2 attempts: ConnectionRefusedError"):
            client.search(["a"], 1)


def test_a_query_that_the_server_refuses_spoils_no_other_episode_of_the_batch(monkeypatch):
    def picky(handler, body):
        return (422, b"no") if "poison" in json.loads(body)["queries"] else ranked(handler, body)

    with serving(picky, HTTPServer) as server:
        client = Http(server.url)
        monkeypatch.setattr("tests.toys.archive.env.CardIndex", lambda cards: client)
        vector = tir_gym.make_vec("toy/Archive-v0", 3)
        vector.reset(seed=0)
        search = '<call name="search"><arg name="query">{}</arg></call>'
        *_, truncated, infos = vector.step([search.format(query) for query in ("a", "poison", "b")])
        vector.close()
        client.close()
    assert truncated.tolist() == [False, True, False]
    assert "HTTP 422: no" in infos["final_info"]["failure"][1]


def test_a_failing_server_makes_the_episode_invalid(monkeypatch):
    with serving(lambda handler, body: (500, b"boom"), HTTPServer) as server:
        client = Http(server.url, attempts=1)
        monkeypatch.setattr("tests.toys.archive.env.CardIndex", lambda cards: client)
        env = make("toy/Archive-v0")
        env.reset(seed=0)
        _, reward, terminated, truncated, info = env.step('<call name="search"><arg name="query">x</arg></call>')
        env.close()
        client.close()
    assert math.isnan(reward)
    assert (terminated, truncated, info["outcome"], info["valid"]) == (False, True, "env_error", False)
    assert "boom" in info["failure"]


def test_bad_addresses_and_settings_are_named():
    for url in ("localhost:8000", "ftp://x", "http://"):
        with pytest.raises(ValueError, match="must look like"):
            Http(url)
    with pytest.raises(ValueError, match="must be one of"):
        Http("http://x", "other")
    with pytest.raises(ValueError, match="greater than 0"):
        Http("http://x", batch=0)
    assert isinstance(Http("http://x"), Retriever)
