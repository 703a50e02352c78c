"""The episode machine, driven by hand: the test plays the driver and answers every request itself."""

import math
from dataclasses import replace

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
    Puppet,
    Shelf,
    Workshop,
    calls,
    carry_out,
    history,
    new_episode,
    ran,
    started,
    take,
)
from tir_gym.core.action import Action, Part
from tir_gym.core.episode import MAX_USER_MOVES, Turn
from tir_gym.core.interfaces import Done, HostCall, Measured, RunStatus
from tir_gym.core.outcome import Outcome
from tir_gym.core.requests import UserTurn, Verify
from tir_gym.core.transcript import Source
from tir_gym.core.verify import Score
from tir_gym.protocols import protocol


# --- starting -------------------------------------------------------------------------------------------------------
def test_an_episode_starts_with_the_system_prompt_and_the_task():
    episode = new_episode()
    turn = episode.start()
    assert isinstance(turn, Turn)
    assert (turn.to_move, turn.terminated, turn.truncated) == ("agent", False, False)
    assert [entry.source for entry in turn.entries] == [Source.SYSTEM, Source.ENV]
    assert turn.observation == "\n\n".join(entry.text for entry in turn.entries)
    assert turn.observation.endswith("What is on the shelf?")
    assert all(f"- {tool.name}: {tool.description}" in turn.observation for tool in episode.toolkits["agent"].tools)
    assert (episode.outcome, episode.clock, episode.calls, episode.turns_left) == (Outcome.RUNNING, 0.0, [], 8)


# --- turns that ask for nothing -------------------------------------------------------------------------------------
def test_a_void_turn_is_answered_with_what_to_do_instead():
    episode = started()
    turn = take(episode, Action(thought="hm", raw="<think>hm</think>"))
    assert turn.observation == "<feedback>\nNothing was done: call a tool or answer.\n</feedback>"
    assert (episode.tally.void, episode.outcome) == (1, Outcome.RUNNING)


def test_a_format_error_is_explained():
    episode = started()
    turn = take(episode, protocol("xml").parse('<call name="put"><arg name="value" type="json">{</arg></call>'))
    assert turn.observation.startswith("<feedback>\nFormat error: bad_json: ")
    assert episode.tally.format_errors == 1


def test_a_void_turn_ends_the_episode_where_the_setting_says_so():
    episode = started(void_ends=True)
    turn = take(episode, Action(thought="hm", raw="hm"))
    assert (turn.terminated, turn.truncated) == (True, False)
    assert (episode.outcome, episode.ended_by) == (Outcome.POLICY_ERROR, "void")


# --- the order of things --------------------------------------------------------------------------------------------
def test_acting_before_the_results_are_in_is_an_error():
    episode = started()
    step = episode.act(calls(LOOK))
    with pytest.raises(RuntimeError, match="feed the results of its requests first"):
        episode.act(calls(LOOK))
    assert isinstance(episode.feed(step.requests[0].id, "here"), Turn)


def test_a_result_that_nobody_waits_for_is_an_error():
    episode = started()
    step = episode.act(calls(LOOK))
    with pytest.raises(KeyError, match="no request 99"):
        episode.feed(99, "here")
    episode.feed(step.requests[0].id, "here")
    with pytest.raises(KeyError, match="no request"):
        episode.feed(step.requests[0].id, "here again")


def test_after_the_end_acting_changes_nothing():
    episode = started()
    last = take(episode, Action(answer="no", raw="no"))
    before = history(episode)
    assert episode.act(calls(PUT)) is last
    assert history(episode) == before


def test_an_episode_is_forked_between_turns_only():
    episode = started()
    step = episode.act(calls(LOOK))
    with pytest.raises(RuntimeError, match="between turns only"):
        episode.fork()
    episode.feed(step.requests[0].id, "here")
    assert history(episode.fork()) == history(episode)


def test_a_fork_and_its_parent_go_on_independently():
    episode = started()
    take(episode, calls(PUT))
    twin = episode.fork()
    before = history(episode)
    take(twin, calls(("put", {"name": "nail", "value": 9}), RUN))
    assert history(episode) == before
    assert (twin.world.things["nail"], episode.world.things["nail"]) == (9, 3)
    assert twin.toolkits["agent"].shelf is twin.world
    again = episode.fork()
    take(again, calls(("put", {"name": "nail", "value": 9}), RUN))
    assert history(again) == history(twin)


# --- the digest -----------------------------------------------------------------------------------------------------
tricky = st.text(alphabet="\0ab<\n\ud800", max_size=3)
histories = st.lists(st.tuples(tricky, st.text(alphabet="\0ab<\n", max_size=3), tricky), max_size=3)
"""Raw completions, arguments and results; an argument with half a character is refused."""


def digest_of(told, **options):
    episode = started(**options)
    for raw, argument, result in told:
        step = episode.act(calls(("look", {"what": argument}), raw=raw))
        episode.feed(step.requests[0].id, result)
    return episode.digest


@given(one=histories, other=histories)
def test_the_digest_is_the_same_for_the_same_history_and_for_no_other(one, other):
    assert (digest_of(one) == digest_of(other)) == (one == other)


def test_the_digest_starts_from_environment_task_and_seed():
    assert len({new_episode(seed=seed).digest for seed in range(3)}) == 3
    assert new_episode(seed=1).digest == new_episode(seed=1).digest
    episode = new_episode()
    other_task = replace(episode.task, id="workshop/1")
    assert type(episode)(episode.setting, other_task, 7).digest != episode.digest
    other_env = replace(episode.setting, env_id="test/Workshop-v1")
    assert type(episode)(other_env, episode.task, 7).digest != episode.digest


def test_what_was_measured_is_not_part_of_the_digest_or_of_equality():
    episodes = [started(), started()]
    for episode, wall in zip(episodes, (0.1, 9.0), strict=True):
        running = episode.act(calls(RUN)).requests[1]
        episode.feed(running.id, Done(0, RunStatus.OK, stdout="2", measured=Measured(wall, wall, 5.0, 77)))
    assert history(episodes[0]) == history(episodes[1])
    assert [episode.calls[0].measured.wall_s for episode in episodes] == [0.1, 9.0]


def test_what_is_written_to_the_world_enters_the_digest():
    digests = set()
    for value in (1, 2):
        episode = started()
        step = episode.act(calls(LOOK))
        episode.world.put("nail", value)
        episode.feed(step.requests[0].id, "the same")
        digests.add(episode.digest)
    assert len(digests) == 2


def test_what_a_picture_shows_enters_the_digest():
    digests = set()
    for shade in (1, 2):
        episode = started()
        step = episode.act(calls(("draw", {"shade": 0})))
        request = step.requests[0]
        request.arguments = {"shade": shade}
        episode.feed(request.id, request.perform())
        digests.add(episode.digest)
    assert len(digests) == 2


def test_what_a_tool_told_the_code_enters_the_digest():
    digests = set()
    for said in ("here", "there"):
        episode = started()
        running = episode.act(calls(RUN)).requests[1]
        (host,) = episode.feed(running.id, HostCall(0, 1, "look", {"what": "x"})).requests
        episode.feed(host.id, said)
        episode.feed(running.id, Done(0, RunStatus.OK))
        digests.add(episode.digest)
    assert len(digests) == 2


def test_how_the_episode_ended_enters_the_digest():
    digests = set()
    for score in (0.0, 0.5, 1.0):
        episode = started()
        (verify,) = episode.act(Action(answer="x", raw="x")).requests
        episode.feed(verify.id, Score(score))
        digests.add(episode.digest)
    assert len(digests) == 3


# --- who wrote what, and who may read it ----------------------------------------------------------------------------
def test_every_stretch_of_a_completion_has_its_role():
    episode = started()
    raw = "<think>so</think><confidence>0.5</confidence><answer>nearly</answer> and <answer>other</answer>"
    take(episode, protocol("xml").parse(raw))
    (entry,) = [entry for entry in episode.transcript if entry.source is Source.POLICY]
    assert entry.text == raw
    assert [(span.part, raw[span.start : span.end]) for span in entry.spans] == [
        (Part.THOUGHT, "<think>so</think>"),
        (Part.CONFIDENCE, "<confidence>0.5</confidence>"),
        (Part.ANSWER, "<answer>nearly</answer>"),
        (Part.TAIL, " and <answer>other</answer>"),
    ]
    assert {(span.source, span.actor, span.visible_to) for span in entry.spans} == {
        (Source.POLICY, "agent", ("agent",))
    }
    assert episode.answer.text == "nearly"
    assert episode.answer.confidence == 0.5


@given(tail=st.text(max_size=30), results=st.text(max_size=30))
def test_a_verifier_sees_neither_the_tail_nor_what_tools_said(tail, results):
    episode = started()
    head = '<call name="look"><arg name="what">x</arg></call>'
    step = episode.act(protocol("xml").parse(f"{head}tail {tail}"))
    episode.feed(step.requests[0].id, f"result {results}")
    (verify,) = episode.act(protocol("xml").parse(f"<answer>42</answer>tail {tail}")).requests
    assert verify.evidence.policy_text == (head, "<answer>42</answer>")
    seen = verify.evidence
    assert "result " not in repr((seen.task, seen.answer, seen.calls, seen.policy_text, seen.ended_by))


def test_gold_is_in_nothing_but_the_request_to_verify():
    episode = started()
    take(episode, calls(LOOK, RUN))
    (verify,) = episode.act(Action(answer="x", raw="x")).requests
    assert verify.gold.answer == SECRET
    seen = verify.evidence
    assert seen.task.gold.answer is None
    assert seen.task.gold.plan is None
    assert not seen.task.gold.data
    told = "".join(entry.text for entry in episode.transcript)
    assert SECRET not in told + repr(seen) + repr(vars(episode.toolkits["agent"]))


def test_domains_build_world_tools_users_and_briefings_without_gold():
    class Spying(Guided):
        def world(self, task, seed):
            given.append(task)
            return super().world(task, seed)

        def toolkit(self, actor, task, world):
            given.append(task)
            return super().toolkit(actor, task, world)

        def user(self, actor, task, seed):
            given.append(task)
            return super().user(actor, task, seed)

        def briefing(self, actor, task):
            given.append(task)
            return super().briefing(actor, task)

        def images(self, actor, task):
            given.append(task)
            return super().images(actor, task)

    given = []
    started(Spying())
    assert len(given) == 6
    assert all(task.gold.answer is task.gold.plan is None for task in given)


# --- a user that moves ----------------------------------------------------------------------------------------------
def test_a_user_who_moves_first_is_heard_before_the_policy_moves():
    episode = new_episode(Guided())
    step = episode.start()
    (request,) = step.requests
    assert isinstance(request, UserTurn)
    assert request.seen == []
    turn = episode.feed(request.id, request.perform())
    assert turn.observation.endswith("What is on the shelf?\n\nBegin.")
    assert turn.entries[-1].source is Source.USER
    assert (turn.to_move, episode.tally.turns) == ("agent", 0)


def test_user_and_policy_read_each_others_messages_and_nothing_else():
    moves = (
        Action(message="Begin."),
        Action(calls=calls(PUT).calls, thought="secret of the master"),
        Action(
            message="Done it.", thought="secret of the master", raw="secret of the master <message>Done it.</message>"
        ),
    )
    episode = started(Guided(moves))
    turn = take(episode, Action(thought="secret of the agent", message="Put the nail.", raw="secret of the agent"))
    user = episode.users["master"]
    assert user.seen == [[], ["Put the nail."], ["nail holds 3"]]
    assert turn.observation == "Done it."
    assert [record.actor for record in episode.calls] == ["master"]
    assert episode.world.things["nail"] == 3
    assert (turn.to_move, episode.tally.turns, episode.turns_left) == ("agent", 1, 7)


def test_a_message_where_there_is_nobody_to_read_it_is_answered():
    episode = started()
    turn = take(episode, Action(message="Hello?", raw="Hello?"))
    assert "There is nobody to send a message to" in turn.observation
    assert turn.to_move == "agent"


def test_a_user_who_hangs_up_ends_the_episode():
    episode = started(Guided((Action(message="Begin."), Action(finish="bye"))))
    turn = take(episode, Action(message="Well?", raw="Well?"))
    assert (turn.to_move, turn.terminated) == ("agent", True)
    assert (episode.outcome, episode.ended_by) == (Outcome.FAILED, "user")


@pytest.mark.parametrize("move", [Action(), Action(calls=calls(LOOK).calls), Action(answer="mine")])
def test_a_user_who_never_speaks_makes_the_episode_invalid(move):
    episode = new_episode(Guided((move,)))
    turn = carry_out(episode, episode.start())
    assert (turn.to_move, turn.truncated) == ("agent", True)
    assert episode.outcome is Outcome.ENV_ERROR
    assert f"moved {MAX_USER_MOVES} times without a word" in episode.failure


def test_a_user_who_breaks_makes_the_episode_invalid():
    episode = new_episode(Guided())
    (request,) = episode.start().requests
    turn = episode.feed(request.id, RuntimeError("no line"))
    assert turn.truncated
    assert (episode.outcome, episode.failure) == (
        Outcome.ENV_ERROR,
        "the user 'master' failed: RuntimeError: no line",
    )


def test_a_fork_copies_the_user():
    episode = started(Guided((Action(message="Begin."), Action(message="one"), Action(message="two"))))
    twin = episode.fork()
    for expected in ("one", "two"):
        assert take(twin, Action(message="Next.", raw="Next.")).observation == expected
    assert take(episode, Action(message="Next.", raw="Next.")).observation == "one"
    assert isinstance(episode.users["master"], Puppet)


# --- how it ends ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("action", "ended_by", "outcome", "terminated"),
    [
        (Action(answer=SECRET, raw="a"), "answer", Outcome.SOLVED, True),
        (Action(answer="nearly", raw="a"), "answer", Outcome.FAILED, True),
        (Action(answer="", raw="a"), "answer", Outcome.FAILED, True),
        (Action(finish="enough", raw="a"), "finish", Outcome.FAILED, True),
        (calls(("submit", {"answer": SECRET, "confidence": 0.25})), "answer", Outcome.SOLVED, True),
        (calls(("leave", {"reason": "bored"})), "finish", Outcome.FAILED, True),
        (calls(LOOK), "max_turns", Outcome.TRUNCATED, False),
        (calls(("put", {"name": "x", "value": 1}), PUT), "max_turns", Outcome.TRUNCATED, False),
    ],
)
def test_each_end_has_its_outcome(action, ended_by, outcome, terminated):
    episode = started(budget={"turns": 1})
    turn = take(episode, action)
    assert (turn.terminated, turn.truncated) == (terminated, not terminated)
    assert (episode.ended_by, episode.outcome) == (ended_by, outcome)
    assert episode.view().outcome is outcome
    assert episode.outcome.valid
    assert episode.failure == ""


def test_an_answer_without_confidence_has_none():
    episode = started()
    take(episode, Action(answer="x", raw="x"))
    assert math.isnan(episode.answer.confidence)


@pytest.mark.parametrize(
    ("verdict", "failure"),
    [
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
        (Score(0.3, valid=False, reason="cannot tell"), "cannot tell"),
        (None, "NoneType: None"),
    ],
)
def test_an_episode_that_cannot_be_judged_is_invalid(verdict, failure):
    episode = started()
    step = episode.act(Action(answer="x", raw="x"))
    assert [type(request) for request in step.requests] == [Verify]
    turn = episode.feed(step.requests[0].id, verdict)
    assert (turn.terminated, turn.truncated) == (False, True)
    assert (episode.outcome, episode.failure, episode.score) == (Outcome.JUDGE_ERROR, failure, None)


def test_an_invalid_episode_always_says_why():
    episode = started()
    step = episode.act(Action(answer="x", raw="x"))
    episode.feed(step.requests[0].id, Score(0.3, valid=False))
    assert episode.failure


def test_a_truncated_episode_is_judged_all_the_same():
    episode = started(budget={"turns": 1})
    (verify,) = episode.act(Action(thought="hm", raw="hm")).requests
    assert verify.evidence.ended_by == "max_turns"
    episode.feed(verify.id, Score(1.0))
    assert (episode.outcome, episode.score.value) == (Outcome.TRUNCATED, 1.0)


def test_abort_ends_the_episode_whatever_is_in_flight():
    episode = started()
    step = episode.act(calls(LOOK, PONDER))
    turn = episode.abort("the machine is going down")
    assert (turn.terminated, turn.truncated) == (False, True)
    assert (episode.outcome, episode.failure) == (Outcome.ENV_ERROR, "the machine is going down")
    with pytest.raises(KeyError):
        episode.feed(step.requests[0].id, "too late")
    assert episode.act(calls(LOOK)) is turn


def test_abort_between_turns_works_too():
    episode = started()
    assert episode.abort("stop").truncated
    assert history(episode.fork()) == history(episode)


def test_a_scripted_program_is_the_same_history_each_time():
    def play():
        episode = started(Workshop())
        take(episode, calls(PUT, LOOK, PONDER), guest=ran)
        take(episode, calls(RUN, raw="again"))
        take(episode, Action(answer="nearly", raw="<answer>nearly</answer>"))
        assert isinstance(episode.world, Shelf)
        return episode

    assert history(play()) == history(play())
