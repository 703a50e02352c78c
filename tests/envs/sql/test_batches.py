"""Statements of many episodes are told to the worker together; each has the result it would have had alone."""

import math
import os
import signal

import pytest

import tir_gym
from tests.envs.sql.samples import SHELF, Sample, sample
from tests.envs.sql.test_hostile import UNINTERRUPTIBLE
from tests.play import as_bytes, make
from tir_gym.core.tool import EnvError
from tir_gym.envs.sql import engine as engine_module
from tir_gym.envs.sql.desks import Statements
from tir_gym.envs.sql.engine import NOW, EngineUnavailable, Job
from tir_gym.envs.sql.results import QueryLimits, Table

CALL = '<call name="{}">{}</call>'
SQL = '<arg name="sql">{}</arg>'
TURNS = [
    CALL.format("query", SQL.format("SELECT name, sql FROM sqlite_master ORDER BY name")),
    CALL.format("list_tables", ""),
    CALL.format("query", SQL.format("SELECT nope FROM sqlite_master")),
    CALL.format("describe_table", '<arg name="table">nowhere</arg>'),
    CALL.format("query", SQL.format("DELETE FROM sqlite_master")) + CALL.format("query", SQL.format("SELECT 1.5, 'é'")),
    CALL.format("explain", SQL.format("SELECT count(*) FROM sqlite_master")),
    "<think>nothing to run</think>",
]


def job(sql, source=None, now=NOW, **limits):
    return Job(source or sample(), sql, QueryLimits(**{"seconds": 2.0, **limits}), now)


def counting(n):
    return [job(f"SELECT {i}, count(*) FROM book") for i in range(n)]


def counted(n):
    return [((i, 4),) for i in range(n)]


@pytest.fixture
def started(own_engine, monkeypatch):
    """How many workers the engine has started."""
    workers = []
    start = own_engine._start
    monkeypatch.setattr(own_engine, "_start", lambda: workers.append(start()) or workers[-1])
    return workers


def test_results_come_in_order_each_of_its_own_database_limits_and_moment(own_engine):
    other = sample(SHELF + "DELETE FROM book", key="other")
    batch = [
        job("SELECT count(*) FROM book"),
        job("SELECT count(*) FROM book", other),
        job("SELECT id FROM book ORDER BY id", rows=1),
        job("SELECT id FROM book ORDER BY id", rows=3),
        job("SELECT date('now')", now="2001-02-03 00:00:00"),
        job("SELECT date('now')"),
        job("SELECT nope"),
        job("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r", ops=100_000),
    ]
    for _ in range(2):  # the databases are loaded in the first round
        found = own_engine.each(batch)
        assert [f.rows if isinstance(f, Table) else f.kind for f in found] == [
            ((4,),),
            ((0,),),
            ((1,),),
            ((1,), (2,), (3,)),
            (("2001-02-03",),),
            (("2025-06-15",),),
            "sql",
            "ops",
        ]
        assert found == [own_engine.one(each.source, each.sql, each.limits, each.now) for each in batch]


def test_a_batch_larger_than_the_channel_holds_gets_through(own_engine):
    batch = [job(f"SELECT printf('%1000d', id) || '{'x' * 30_000}' FROM book", bytes=200_000) for _ in range(64)]
    found = own_engine.each([job("SELECT 1"), *batch])
    assert {len(each.rows[-1][0]) for each in found[1:]} == {31_000}


@pytest.mark.parametrize("place", [0, 5, 9])
def test_a_poisonous_statement_among_many_ends_alone_and_at_once(own_engine, started, place):
    batch = counting(10)
    own_engine.each(batch)
    batch[place] = job(UNINTERRUPTIBLE[0], sample(key="big", many=3_000), seconds=0.5)
    own_engine.one(batch[place].source, "SELECT 1")
    found = own_engine.each(batch)
    assert found[place].kind == "killed"
    assert [f.rows for i, f in enumerate(found) if i != place] == [r for i, r in enumerate(counted(10)) if i != place]
    assert len(started) == (1 if place == 9 else 2)  # it is not tried again, and nothing else is lost


def test_a_worker_killed_in_the_middle_of_a_batch_is_replaced_without_a_word(own_engine, started, monkeypatch):
    own_engine.each(counting(2))
    left = [4]
    ask = engine_module.replies

    def replies(worker, request, blob, patience):
        for reply in ask(worker, request, blob, patience):
            yield reply
            left[0] -= 1
            if not left[0]:
                os.kill(worker.pid, signal.SIGKILL)
                worker._process.wait()

    monkeypatch.setattr(engine_module, "replies", replies)
    assert [found.rows for found in own_engine.each(counting(400))] == counted(400)
    assert len(started) == 2


@pytest.fixture
def deadly(monkeypatch):
    """Somebody kills the worker whenever it is told to run `SELECT 'deadly'`."""
    ask = engine_module.replies

    def replies(worker, request, blob, patience):
        if "SELECT 'deadly'" in str(request):
            os.kill(worker.pid, signal.SIGKILL)
        return ask(worker, request, blob, patience)

    monkeypatch.setattr(engine_module, "replies", replies)
    return "SELECT 'deadly'"


def test_a_statement_at_which_the_worker_is_killed_again_and_again_is_our_fault_and_its_neighbours_are_well(
    own_engine, deadly
):
    found = own_engine.each([*counting(2), job(deadly), *counting(2)])
    assert isinstance(found[2], EngineUnavailable)
    assert "killed twice at one statement" in str(found[2])
    assert [each.rows for each in found[:2] + found[3:]] == counted(2) * 2


def test_an_episode_that_cannot_be_served_is_invalid_and_the_others_go_on(deadly):
    envs = tir_gym.make_vec("tir/SQL-v0", 3, protocol="xml")
    envs.reset(seed=[0, 1, 2])
    calls = [CALL.format("query", SQL.format(sql)) for sql in ("SELECT 1", deadly, "SELECT 2")]
    _, rewards, _, truncated, infos = envs.step(calls)
    envs.close()
    assert [math.isnan(reward) for reward in rewards] == [False, True, False]
    assert list(truncated) == [False, True, False]
    assert (infos["final_info"]["outcome"][1], bool(infos["final_info"]["valid"][1])) == ("env_error", False)


def test_a_file_that_is_gone_fails_the_requests_for_it_only(tmp_path):
    gone = Sample("gone", path=str(tmp_path / "gone.sqlite"))
    asked = [Statements("sqlite", [job("SELECT 1"), job("SELECT 2")]), Statements("sqlite", [job("SELECT 1", gone)])]
    found, failure = Statements.perform_all(asked)
    assert [each.rows for each in found] == [((1,),), ((2,),)]
    assert isinstance(failure, EnvError)
    assert "cannot open the database" in str(failure)


def test_a_worker_that_does_not_start_fails_every_job_once(own_engine, monkeypatch):
    tried = []

    def start():
        tried.append(1)
        raise EngineUnavailable("no workers today")

    monkeypatch.setattr(own_engine, "_start", start)
    assert {str(found) for found in own_engine.each(counting(5))} == {"no workers today"}
    assert len(tried) == 1


def test_an_episode_of_a_batch_reads_what_it_reads_alone():
    alone = []
    for i, turn in enumerate(TURNS):
        with make("tir/SQL-v0", protocol="xml") as env:
            env.reset(seed=i)
            alone.append((as_bytes([env.step(turn)[0]]), env.episode.digest))
    envs = tir_gym.make_vec("tir/SQL-v0", len(TURNS), protocol="xml")
    envs.reset(seed=list(range(len(TURNS))))
    observations, *_ = envs.step(TURNS)
    together = [(as_bytes([seen]), slot.episode.digest) for seen, slot in zip(observations, envs.slots, strict=True)]
    envs.close()
    assert together == alone
