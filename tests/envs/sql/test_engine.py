"""The engine: what statements return, how its worker lives and dies."""

import math
import os
import signal
import threading

import pytest

from tests.envs.sql.samples import Sample, sample
from tests.envs.sql.test_hostile import UNINTERRUPTIBLE
from tests.play import make
from tests.processes import descendants, wait_until_gone
from tir_gym.envs.sql import channel
from tir_gym.envs.sql import engine as engine_module
from tir_gym.envs.sql.engine import Engine, EngineUnavailable, engine
from tir_gym.envs.sql.results import Failure, QueryLimits, Table


def test_rows_come_in_order_with_duplicates_nulls_types_and_column_names():
    """SkyRL-Gym's tool lost the order, the duplicates and the names of columns."""
    found = engine().one(
        sample(),
        "SELECT price, title, born, x'00ff' b FROM book LEFT JOIN author a ON a.id = author_id "
        "ORDER BY price DESC, title",
    )
    assert found.columns == ("price", "title", "born", "b")
    blob = {"hex": "00ff"}
    assert found.rows == (
        (12.5, "Notes", 1815, blob),
        (8.0, "Engines", 1815, blob),
        (8.0, "Rain", None, blob),
        (3.25, "NULL", None, blob),
    )
    assert engine().one(sample(), "SELECT price FROM book").rows == ((12.5,), (8.0,), (8.0,), (3.25,))
    assert engine().one(sample(), "SELECT 1 a, 2 a").columns == ("a", "a")
    assert engine().one(sample(), "SELECT 9223372036854775807, 1e308 * 10, -0.0, 'é\n'").rows[0][0] == 2**63 - 1


def test_statements_of_a_request_run_in_order_each_on_its_database():
    other = sample("CREATE TABLE author (name); INSERT INTO author VALUES ('Zed')", key="other")
    sql = "SELECT name FROM author LIMIT 1"
    found = engine().run([(sample(), sql), (other, sql), (sample(), "SELECT nope"), (other, sql)])
    assert [f.rows if isinstance(f, Table) else f.kind for f in found] == [(("Ada",),), (("Zed",),), "sql", (("Zed",),)]
    assert len(engine().run([(sample(), "SELECT nope"), (other, sql)], stop=True)) == 1


@pytest.mark.parametrize("distinct", ["DISTINCT ", ""])
def test_what_does_not_fit_a_small_cache_is_sorted_in_memory(distinct):
    """By default SQLite sorts it in a file, which the worker may not have."""
    base = sample(key="sorted", many=60_000)
    inner = f"SELECT {distinct}printf('%99d', n) t FROM big ORDER BY 1 DESC LIMIT -1 OFFSET 1"
    found = engine().one(base, f"SELECT count(*), max(t), min(t) FROM ({inner})")
    assert found.rows == ((59_999, f"{59_998:99d}", f"{0:99d}"),)
    assert engine().one(base, "SELECT count(*) FROM big").rows == ((60_000,),)


def test_a_statement_that_is_killed_costs_its_neighbours_nothing(own_engine):
    database = sample(key="big", many=3_000)
    endless = UNINTERRUPTIBLE[0]
    good = "SELECT count(*) FROM big"
    found = own_engine.run([(database, good), (database, endless), (database, good)], QueryLimits(seconds=1.0))
    assert [f.rows if isinstance(f, Table) else f.kind for f in found] == [((3_000,),), "killed", ((3_000,),)]


def test_a_worker_that_somebody_killed_is_replaced_without_a_word(own_engine):
    for _ in range(3):
        assert own_engine.one(sample(), "SELECT 1").rows == ((1,),)
        os.kill(own_engine._worker.pid, signal.SIGKILL)
        own_engine._worker._process.wait()


@pytest.fixture
def killed(monkeypatch):
    """`killed(times)`: that many next statements have their worker killed while it is at them."""
    left = [0]
    ask = engine_module.replies

    def replies(worker, request, blob, patience):
        if left[0] and not {"load", "log"} & request.keys():
            left[0] -= 1
            os.kill(worker.pid, signal.SIGKILL)
        return ask(worker, request, blob, patience)

    monkeypatch.setattr(engine_module, "replies", replies)
    return lambda times: left.__setitem__(0, times)


def test_a_worker_that_is_killed_at_its_work_has_another_try_and_then_the_fault_is_ours(own_engine, killed):
    killed(1)
    assert own_engine.one(sample(), "SELECT 1").rows == ((1,),)
    killed(2)
    with pytest.raises(EngineUnavailable, match="killed twice at one statement"):
        own_engine.one(sample(), "SELECT 1")
    assert own_engine.one(sample(), "SELECT 1").rows == ((1,),)


@pytest.mark.parametrize("env_id", ["tir/SQL-v0", "tir/SQLWrite-v0"])
def test_an_episode_whose_worker_is_killed_is_invalid_and_others_are_not(env_id, killed):
    call = '<call name="list_tables"></call>'
    with make(env_id, protocol="xml") as env, make(env_id, protocol="xml") as other:
        env.reset(seed=1)
        other.reset(seed=2)
        killed(2)
        _, reward, terminated, truncated, info = env.step(call)
        assert (math.isnan(reward), terminated, truncated) == (True, False, True)
        assert (info["outcome"], info["valid"]) == ("env_error", False)
        for each in (other, env):
            if each is env:
                env.reset(seed=1)
            seen, reward, _, truncated, info = each.step(call)
            assert (reward, truncated, info["valid"]) == (0.0, False, True)
            assert "rows" in seen


def test_leases_keep_the_worker_and_the_last_one_ends_it():
    made = Engine()
    made.acquire()
    made.acquire()
    before = descendants()
    made.one(sample(), "SELECT 1")
    (worker,) = descendants() - before
    made.release()
    assert worker in descendants()
    made.release()
    wait_until_gone({worker})
    made.release()
    made.close()


def test_threads_take_turns(own_engine):
    found = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: own_engine.one(sample(), f"SELECT {n}").rows}))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: ((n,),) for n in range(8)}


def test_a_forked_copy_of_the_host_has_a_worker_of_its_own(own_engine):
    own_engine.one(sample(), "SELECT 1")
    mine = own_engine._worker.pid
    child = os.fork()
    if child == 0:
        try:
            good = own_engine.one(sample(), "SELECT 2").rows == ((2,),) and own_engine._worker.pid != mine
            own_engine.close()
            os._exit(0 if good else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert own_engine.one(sample(), "SELECT 3").rows == ((3,),)
    assert own_engine._worker.pid == mine


def test_a_database_that_cannot_be_opened_is_named(own_engine, tmp_path):
    for wrong in (Sample("none", path=str(tmp_path / "none.sqlite")), Sample("junk", b"no database at all" * 100)):
        with pytest.raises(EngineUnavailable, match="cannot open the database"):
            own_engine.one(wrong, "SELECT 1")
    assert not (tmp_path / "none.sqlite").exists()


def test_more_databases_than_are_kept_are_loaded_again(own_engine, monkeypatch):
    bases = [sample(key=f"base {n}", many=30_000) for n in range(3)]
    for _ in range(2):
        found = own_engine.run([(base, "SELECT count(*) FROM big") for base in bases])
        assert [each.rows for each in found] == [((30_000,),)] * 3
    assert isinstance(own_engine.one(bases[0], "SELECT nope"), Failure)


SLOW = "SELECT count(*) FROM big a, big b WHERE a.n + b.n < 0"


def test_shared_limits_are_those_of_all_statements_together(own_engine):
    databases = [sample(key=f"slow{n}", many=1_000) for n in range(4)]
    runs = [(each, SLOW) for each in databases]
    alone = own_engine.one(*runs[0], QueryLimits(seconds=600.0))
    limits = QueryLimits(ops=alone.ops * 2, seconds=600.0)
    found = own_engine.run(runs, limits, stop=True, shared=True)
    assert [getattr(each, "kind", "") for each in found] == ["", "", "ops"]
    assert all(isinstance(each, Table) for each in own_engine.run(runs, limits, stop=True))
    assert limits.after(found[:2]).ops == 0


def test_seconds_are_those_of_a_processor(own_engine):
    """A worker that gets none (here it is stopped for a while) loses none of its limit."""
    own_engine.one(sample(), "SELECT 1")
    worker = own_engine._worker
    os.kill(worker.pid, signal.SIGSTOP)
    going_on = threading.Timer(1.0, os.kill, (worker.pid, signal.SIGCONT))
    going_on.start()
    assert own_engine.one(sample(), "SELECT 1", QueryLimits(seconds=0.01)).rows == ((1,),)
    going_on.join()
    assert own_engine._worker is worker


def test_a_worker_that_never_gets_to_work_is_no_fault_of_the_statement(own_engine, monkeypatch):
    monkeypatch.setattr(channel, "_MARGIN", 0.1)
    start = own_engine._start

    def stopped():
        worker = start()
        worker.wait_ready()
        os.kill(worker.pid, signal.SIGSTOP)
        return worker

    monkeypatch.setattr(own_engine, "_start", stopped)
    with pytest.raises(EngineUnavailable, match="killed twice at one statement: it does not get to work"):
        own_engine.run([(sample(), "SELECT 1")] * 3, QueryLimits(seconds=0.01), shared=True, stop=True)
