"""Verdicts: on what the policy wrote, and on what it was shown; documents earn nothing."""

import pytest

from tir_gym.core.task import Gold, Task
from tir_gym.core.transcript import CallRecord, CallStatus
from tir_gym.core.verify import Answer, Evidence
from tir_gym.envs.search_qa.verify import SearchVerifier, without_citations


def called(turn, *hits):
    facts = {"hits": list(hits)}
    return CallRecord(0, turn, "agent", "search", {}, "search{}", "evidence", CallStatus.OK, facts=facts)


def judged(answer, gold, *calls, measure="em", citations=False):
    evidence = Evidence(Task("t", "?"), None if answer is None else Answer(answer), calls, None, (), "answer")
    return SearchVerifier(measure, citations).score(evidence, gold)


def test_the_measures():
    gold = Gold(["James Madison", "Madison"])
    assert judged("james madison", gold).value == 1.0
    assert judged("James Madison Junior", gold).value == 0.0
    assert judged("James Madison Junior", gold, measure="f1").value == pytest.approx(0.8)
    assert judged("It was Madison", gold, measure="sub_em").value == 1.0
    assert judged(None, gold).value == judged("", gold).value == 0.0
    assert judged("Madison " * 2_000, gold, measure="sub_em").value == 0.0


def test_every_part_counts_and_their_order():
    gold = Gold("no; 1873; 1841")
    assert judged("No; 1873; 1841", gold).value == 1.0
    assert judged("no, 1873, 1841", gold).value == 1.0
    for wrong in ("no", "no; 1841; 1873", "yes; 1873; 1841", "no; 1873; 1841; 1850", "no 1873 1841"):
        assert judged(wrong, gold).value == judged(wrong, gold, measure="f1").value == 0.0
    assert judged("I don't know; Ada Berg", Gold("unknown; Ada Berg")).value == 1.0
    assert judged("unknown; unknown", Gold("unknown; Ada Berg")).value == 0.0
    assert judged("False premise; Ada Berg", Gold("false premise; Ada Berg")).value == 1.0


def test_lists_nuggets_and_abstention():
    assert judged("Rome; Berlin", Gold("x", data={"list": [["Berlin"], ["Rome"]]})).value == 1.0
    assert judged("in 1871", Gold("x", data={"nuggets": [["1871"], ["coal"]]})).value == 0.5
    assert judged("unknown", Gold("unknown", data={"abstain": True}), called(1, "p1")).value == 1.0
    assert judged("Berlin", Gold("unknown", data={"abstain": True}), called(1, "p1")).value == 0.0


def test_a_nugget_counts_where_the_passage_was_shown_that_states_it():
    gold = Gold("1871; coal", data={"nuggets": [["1871"], ["coal"]], "stated_in": ["p1", "p2"]})
    assert judged("1871, coal", gold).value == 0.0
    assert judged("1871, coal", gold, called(1, "p2", "p9")).value == 0.5
    assert judged("1871, coal", gold, called(1, "p2"), called(3, "p1")).value == 1.0


@pytest.mark.parametrize(
    "gold",
    [Gold("yes", data={"sources": ["p1", "p2"]}), Gold("unknown", data={"abstain": True, "sources": ["p1", "p2"]})],
)
def test_what_could_be_guessed_scores_only_if_what_settles_it_was_shown(gold):
    assert judged(gold.answer, gold).value == 0.0
    assert judged(gold.answer, gold, called(1, "p1", "p7")).value == 0.0
    assert judged(gold.answer, gold, called(1, "p1"), called(2, "p2")).value == 1.0
    assert judged(f"{gold.answer} [p1] [p2]", gold).value == 0.0  # citing is not having seen


def test_what_could_be_guessed_wants_a_search_where_nobody_knows_what_settles_it():
    for gold in (Gold("no"), Gold("unknown", data={"abstain": True})):
        assert judged(gold.answer, gold).value == judged(gold.answer, gold, called(1)).value == 0.0
        assert judged(gold.answer, gold, called(1, "p7")).value == 1.0


def test_noise_before_the_question_was_shown_and_settles_nothing():
    gold = Gold("Berlin", data={"sources": ["p1"], "distractors": ["p8", "p9"]})
    verdict = judged("Berlin [p1] [p8]", gold, called(1, "p1"), citations=True)
    assert (verdict.value, verdict.evidence["cited_seen"]) == (1.0, 1.0)
    assert (verdict.evidence["injected"], verdict.evidence["injected_cited"]) == (["p8", "p9"], 1)
    assert "do not settle" in judged("Berlin [p8]", gold, called(1, "p1"), citations=True).reason


def test_citations_must_be_of_passages_that_were_shown():
    gold = Gold("Berlin", data={"sources": ["p1", "p2"]})
    shown = called(1, "p1", "p2", "p3")
    assert judged("Berlin [p1] [p2]", gold, shown, citations=True).value == 1.0
    assert judged("Berlin [p1], [p2], [p3]", gold, shown, citations=True).value == 1.0
    for answer, why in (
        ("Berlin", "no passage"),
        ("Berlin [p1]", "do not settle"),
        ("Berlin [p1] [p2] [p9]", "never shown"),
        ("Berlin" + "".join(f" [p{n}]" for n in range(40)), "too many"),
    ):
        verdict = judged(answer, gold, shown, citations=True)
        assert (verdict.value, why in verdict.reason) == (0.0, True), verdict
    assert judged("Berlin [p1] [p2]", gold, citations=True).value == 0.0
    assert judged("Berlin", gold).value == 1.0


def test_citations_are_taken_out_of_the_answer():
    assert without_citations("Ada Berg [a1.0] [a2.3]") == ("Ada Berg", ["a1.0", "a2.3"])
    assert without_citations("no; 1 [x]; 2 [x]") == ("no; 1 ; 2", ["x"])
    assert without_citations("[0, 1]") == ("[0, 1]", [])


def test_the_evidence_says_what_was_found_and_when():
    gold = Gold("Berlin", data={"sources": ["p1", "p2"]})
    calls = called(1, "p9"), called(2, "p1", "p9"), called(4, "p2")
    facts = judged("Berlin [p1] [p8]", gold, *calls).evidence
    assert facts == {
        "sources_found": 1.0,
        "first_source_turn": 2,
        "all_sources_turn": 4,
        "passages_seen": 3,
        "cited": 2,
        "cited_seen": 0.5,
        "citation_precision": 0.5,
        "citation_recall": 0.5,
        "injected": [],
        "injected_cited": 0,
        "em": 1.0,
    }
    nothing = judged(None, gold, called(1, "p9")).evidence
    assert (nothing["sources_found"], nothing["first_source_turn"], nothing["all_sources_turn"]) == (0.0, 0, 0)
