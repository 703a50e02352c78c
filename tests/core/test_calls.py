"""The calls of an episode, driven by hand: in what order, at what cost, with what errors."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.workshop import (
    LOOK,
    PONDER,
    PUT,
    RUN,
    SECRET,
    Guided,
    calls,
    carry_out,
    history,
    names,
    new_episode,
    shown,
    started,
    take,
)
from tir_gym.core.action import Action
from tir_gym.core.episode import Pending, Turn
from tir_gym.core.interfaces import Done, HostCall, RunStatus
from tir_gym.core.outcome import Outcome
from tir_gym.core.requests import AnswerCall, CloseSession, HostTool, OpenSession, RunCode
from tir_gym.core.tool import MAX_ARGUMENT_CHARS, EnvError, ToolError
from tir_gym.core.transcript import CallErrorType, CallStatus


# --- several calls in one action ------------------------------------------------------------------------------------
def test_calls_run_one_after_another_in_call_order():
    episode = started()
    first = episode.act(calls(PUT, ("put", {"name": "screw", "value": 4}), PUT))
    assert names(first) == ["put"]
    second = episode.feed(first.requests[0].id, "one")
    assert names(second) == ["put"]
    third = episode.feed(second.requests[0].id, "two")
    turn = episode.feed(third.requests[0].id, "three")
    assert shown(turn) == ["one", "two", "three"]
    assert [record.issued_at for record in episode.calls] == [0.0, 2.0, 4.0]
    assert episode.clock == 6.0
    assert [record.index for record in episode.calls] == [0, 1, 2]
    assert (episode.tally.calls, episode.tally.ok, episode.tally.duplicate, episode.tally.this_turn) == (3, 3, 1, 3)


def test_parallel_safe_calls_start_together_and_wait_for_each_other():
    episode = started()
    step = episode.act(calls(LOOK, PONDER, PUT, LOOK))
    look, ponder = step.requests
    assert names(step) == ["look", "ponder"]
    assert episode.feed(ponder.id, "deep") == Pending(())
    step = episode.feed(look.id, "here")
    assert names(step) == ["put"]
    step = episode.feed(step.requests[0].id, "put down")
    assert names(step) == ["look"]
    turn = episode.feed(step.requests[0].id, "again")
    assert shown(turn) == ["here", "deep", "put down", "again"]
    assert [record.issued_at for record in episode.calls] == [0.0, 0.0, 3.0, 5.0]
    assert episode.clock == 6.0


any_call = st.sampled_from(
    [
        LOOK,
        PONDER,
        PUT,
        RUN,
        ("look", {}),
        ("look", {"what": "a saw", "where": "here"}),
        ("hammer", {}),
        ("draw", {"shade": 9}),
        ("restart", {}),
    ]
)
any_result = st.sampled_from(["here", "", {"n": 1}, None, ToolError("not today"), ValueError("oops"), object])


@given(
    turns=st.lists(st.lists(any_call, max_size=6), min_size=1, max_size=3),
    results=st.randoms(use_true_random=False),
    order=st.randoms(use_true_random=False),
    outcomes=st.lists(any_result, min_size=1, max_size=8),
)
def test_the_order_in_which_overlapping_calls_finish_changes_nothing(turns, results, order, outcomes):
    def play(pick):
        episode = started(budget={"calls": 9})
        for wanted in turns:
            made = len(episode.calls)
            chosen = {}

            def result(request, made=made, chosen=chosen):
                # By what is called, not by when it finishes: the tools themselves are pure.
                return chosen.setdefault((made, request.tool.name, repr(request.arguments)), table(request, made))

            take(episode, calls(*wanted), pick=pick, answer=result)
        return episode

    salt = results.random()

    def table(request, made):
        return random.Random(f"{salt}{made}{request.tool.name}{request.arguments}").choice(outcomes)

    in_order = play(lambda waiting: 0)
    shuffled = play(order.randrange)
    assert history(shuffled) == history(in_order)


def test_a_failed_call_does_not_stop_the_calls_after_it():
    episode = started()
    turn = take(episode, calls(("hammer", {}), ("look", {}), LOOK))
    assert [record.error for record in episode.calls] == [
        CallErrorType.UNKNOWN_TOOL,
        CallErrorType.MISSING_REQUIRED,
        CallErrorType.NONE,
    ]
    assert shown(turn)[2] == "a saw is here"
    assert (episode.tally.ok, episode.tally.failed) == (1, 2)


def test_after_a_call_that_ends_the_episode_no_other_is_made():
    episode = started()
    turn = take(episode, calls(PUT, ("submit", {"answer": SECRET}), PUT))
    assert [record.tool for record in episode.calls] == ["put", "submit"]
    assert turn.terminated
    assert (episode.answer.text, episode.answer.origin) == (SECRET, "call")


# --- errors of the policy's own doing -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (("lok", {"what": "x"}), CallErrorType.UNKNOWN_TOOL, "did you mean 'look'?"),
        (("look", {}), CallErrorType.MISSING_REQUIRED, "missing argument 'what'"),
        (("look", {"what": "x", "why": "y"}), CallErrorType.UNEXPECTED_ARG, "unexpected argument 'why'"),
        (("put", {"name": "x", "value": "3"}), CallErrorType.TYPE_MISMATCH, "argument 'value'"),
        (("look", {"what": "x" * MAX_ARGUMENT_CHARS}), CallErrorType.OVERSIZE, "send less"),
    ],
)
def test_a_call_that_cannot_be_made_is_an_observation_and_reaches_no_tool(call, error, said):
    episode = started()
    turn = episode.act(calls(call))
    assert isinstance(turn, Turn)
    assert said in shown(turn)[0]
    (record,) = episode.calls
    assert (record.status, record.error) == (CallStatus.ERROR, error)
    assert f'error="{error.value}"' in turn.observation
    assert episode.clock == 0.0
    assert not episode.outcome


@pytest.mark.parametrize(
    ("raised", "error", "said"),
    [
        (ToolError("the shelf is locked; ask first"), CallErrorType.REFUSED, "the shelf is locked; ask first"),
        (ToolError("slow", CallErrorType.TIMEOUT), CallErrorType.TIMEOUT, "slow"),
        (ZeroDivisionError("by zero"), CallErrorType.EXCEPTION, "the tool raised ZeroDivisionError: by zero"),
    ],
)
def test_what_a_tool_raises_is_an_observation_with_a_typed_error(raised, error, said):
    episode = started()
    step = episode.act(calls(LOOK))
    turn = episode.feed(step.requests[0].id, raised)
    assert said in shown(turn)[0]
    assert episode.calls[0].error is error
    assert not episode.outcome


def test_a_failure_of_ours_ends_the_episode_as_invalid():
    episode = started()
    step = episode.act(calls(PUT, LOOK))
    turn = episode.feed(step.requests[0].id, EnvError("the shelf fell down"))
    assert (turn.terminated, turn.truncated) == (False, True)
    assert (episode.outcome, episode.failure) == (Outcome.ENV_ERROR, "tool 'put': the shelf fell down")
    assert not episode.outcome.valid
    assert len(episode.calls) == 1


def test_of_two_failures_of_ours_the_first_in_call_order_is_named():
    episode = started()
    first, second = episode.act(calls(LOOK, PONDER)).requests
    episode.feed(second.id, EnvError("second"))
    episode.feed(first.id, EnvError("first"))
    assert episode.failure == "tool 'look': first"


def test_what_a_tool_returns_that_no_json_can_hold_is_a_failure_of_ours():
    episode = started()
    step = episode.act(calls(PUT))
    loop = []
    loop.append(loop)
    episode.feed(step.requests[0].id, loop)
    assert episode.outcome is Outcome.ENV_ERROR
    assert "put" in episode.failure


def test_a_long_result_is_cut_and_says_so():
    episode = started()
    step = episode.act(calls(PUT))
    turn = episode.feed(step.requests[0].id, "x" * 100)
    assert "[... 40 characters left out ...]" in shown(turn)[0]
    assert shown(turn)[0].count("x") == 60


# --- the virtual clock and budgets ----------------------------------------------------------------------------------
def test_time_passes_only_by_declared_latencies():
    episode = started()
    take(episode, calls(LOOK))
    take(episode, calls(PONDER, LOOK))
    take(episode, Action(raw="", message=None))
    assert episode.clock == 4.0
    assert [record.latency_s for record in episode.calls] == [1.0, 3.0, 1.0]
    assert [record.price for record in episode.calls] == [0.5, 0.0, 0.5]


def test_a_call_that_never_reached_its_tool_took_no_time_and_cost_nothing():
    episode = started()
    take(episode, calls(("look", {"who": "x"})))
    assert episode.clock == 0.0
    assert (episode.calls[0].latency_s, episode.calls[0].price) == (0.0, 0.0)


def test_what_a_user_calls_is_not_taken_from_the_budget_of_the_policy():
    busy = (Action(message="Begin."), Action(calls=calls(PUT).calls), Action(message="Done."))
    episode = started(Guided(busy), budget={"calls": 2})
    take(episode, Action(message="Go on.", raw="Go on."))
    assert episode.calls_left == 2


def test_the_last_turn_allowed_truncates_unless_it_ends_the_episode():
    episode = started(budget={"turns": 2})
    assert not take(episode, calls(LOOK)).truncated
    assert episode.turns_left == 1
    turn = take(episode, calls(LOOK))
    assert (turn.terminated, turn.truncated) == (False, True)
    assert (episode.outcome, episode.ended_by, episode.turns_left) == (Outcome.TRUNCATED, "max_turns", 0)
    answering = started(budget={"turns": 1})
    assert take(answering, Action(answer=SECRET, raw="x")).terminated
    assert answering.outcome is Outcome.SOLVED


def test_calls_beyond_the_budget_are_refused_and_logged():
    episode = started(budget={"calls": 2})
    turn = take(episode, calls(LOOK, PONDER, LOOK))
    assert [record.error for record in episode.calls] == ["", "", CallErrorType.BUDGET]
    assert "budget of 2 calls is spent" in shown(turn)[2]
    assert (episode.calls_left, episode.tally.calls) == (0, 3)
    assert not episode.outcome


def test_when_virtual_time_is_up_the_episode_times_out():
    episode = started(budget={"virtual_s": 2.5})
    assert not take(episode, calls(PUT)).truncated
    assert take(episode, calls(LOOK)).truncated
    assert (episode.outcome, episode.ended_by) == (Outcome.TIMEOUT, "max_virtual_s")


@pytest.mark.parametrize("limit", [{"turns": 0}, {"calls": -1}, {"virtual_s": 0.0}])
def test_a_budget_of_nothing_is_refused(limit):
    with pytest.raises(ValueError, match="greater than 0"):
        new_episode(budget=limit)


# --- code that runs, and calls tools --------------------------------------------------------------------------------
def test_code_runs_in_a_session_that_is_opened_once():
    episode = started()
    step = episode.act(calls(RUN))
    opening, running = step.requests
    assert isinstance(opening, OpenSession)
    assert isinstance(running, RunCode)
    assert (opening.actor, running.actor, running.code, running.deadline_s) == ("agent", "agent", "1+1", 5.0)
    assert [tool.name for tool in opening.tools] == ["look", "ponder", "put", "draw", "submit"]
    turn = episode.feed(running.id, Done(0, RunStatus.OK, stdout="2"))
    assert shown(turn) == ["2"]
    assert [type(request) for request in episode.act(calls(RUN)).requests] == [RunCode]


def test_equal_episodes_open_sessions_with_equal_seeds_and_others_with_others():
    seeds = [started(seed=seed).act(calls(RUN)).requests[0].seed for seed in (1, 1, 2)]
    assert seeds[0] == seeds[1] != seeds[2]


def test_a_lost_interpreter_is_opened_again():
    episode = started()
    step = episode.act(calls(RUN))
    episode.feed(step.requests[1].id, Done(0, RunStatus.MEMORY, state_lost=True))
    again = episode.act(calls(RUN))
    assert [type(request) for request in again.requests] == [OpenSession, RunCode]
    assert again.requests[0].seed == step.requests[0].seed


def test_a_tool_can_close_the_session_to_start_afresh():
    episode = started()
    take(episode, calls(RUN))
    step = episode.act(calls(("restart", {}), RUN))
    assert [type(request) for request in step.requests] == [CloseSession]
    assert step.requests[0].actor == "agent"
    step = episode.feed(step.requests[0].id, None)
    assert [type(request) for request in step.requests] == [OpenSession, RunCode]


def test_code_that_calls_a_tool_gets_its_answer_and_the_call_is_counted_under_its_parent():
    episode = started()
    running = episode.act(calls(RUN)).requests[1]
    step = episode.feed(running.id, HostCall(0, 41, "look", {"what": "a saw"}))
    (host,) = step.requests
    assert isinstance(host, HostTool)
    assert episode.feed(host.id, host.perform()) == Pending((AnswerCall("agent", 41, "a saw is here", ""),))
    turn = episode.feed(running.id, Done(0, RunStatus.OK, stdout="found"))
    assert shown(turn) == ["found"]
    run, look = episode.calls
    assert (run.tool, run.index, run.parent) == ("execute", 0, -1)
    assert (look.tool, look.index, look.parent, look.arguments) == ("look", 1, 0, {"what": "a saw"})
    assert (episode.tally.calls, episode.calls_left) == (2, 62)


def test_calls_made_by_code_come_after_each_other_in_virtual_time():
    episode = started()
    running = episode.act(calls(RUN)).requests[1]
    for call_id in (1, 2):
        (host,) = episode.feed(running.id, HostCall(0, call_id, "look", {"what": "x"})).requests
        episode.feed(host.id, "here")
    episode.feed(running.id, Done(0, RunStatus.OK))
    assert [record.issued_at for record in episode.calls] == [0.0, 0.0, 1.0]
    assert episode.clock >= 2.0


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("lok", {"what": "x"}, "unknown_tool: there is no tool 'lok'; did you mean 'look'?"),
        ("look", {"what": 3}, "type_mismatch: argument 'what': input should be a valid string, not int"),
    ],
)
def test_a_wrong_call_from_code_is_an_error_inside_the_code(name, arguments, error):
    episode = started()
    running = episode.act(calls(RUN)).requests[1]
    (answer,) = episode.feed(running.id, HostCall(0, 1, name, arguments)).requests
    assert (answer.call_id, answer.value, answer.error) == (1, None, error)


def test_calls_from_code_count_against_the_budget_too():
    episode = started(budget={"calls": 1})
    running = episode.act(calls(RUN)).requests[1]
    (answer,) = episode.feed(running.id, HostCall(0, 1, "look", {"what": "x"})).requests
    assert answer.error.startswith("budget: ")
    episode.feed(running.id, Done(0, RunStatus.OK))
    assert [record.error for record in episode.calls] == ["", CallErrorType.BUDGET]


def test_code_can_submit_the_answer():
    episode = started()
    running = episode.act(calls(RUN)).requests[1]
    (host,) = episode.feed(running.id, HostCall(0, 1, "submit", {"answer": SECRET})).requests
    episode.feed(host.id, host.perform())
    turn = carry_out(episode, episode.feed(running.id, Done(0, RunStatus.OK)))
    assert turn.terminated
    assert (episode.outcome, episode.answer.origin) == (Outcome.SOLVED, "call")


@pytest.mark.parametrize(("name", "arguments"), [("leave", {"reason": "x"}), ("execute", {"code": "1"})])
def test_a_tool_that_is_not_offered_to_code_cannot_be_called_by_code(name, arguments):
    episode = started()
    running = episode.act(calls(RUN)).requests[1]
    (answer,) = episode.feed(running.id, HostCall(0, 1, name, arguments)).requests
    assert isinstance(answer, AnswerCall)
    assert answer.error
    episode.feed(running.id, Done(0, RunStatus.OK))
    assert not episode.outcome


def test_an_executor_that_fails_makes_the_episode_invalid():
    episode = started()
    running = episode.act(calls(RUN)).requests[1]
    episode.feed(running.id, EnvError("the fork server is gone"))
    assert (episode.outcome, episode.failure) == (Outcome.ENV_ERROR, "tool 'execute': the fork server is gone")
