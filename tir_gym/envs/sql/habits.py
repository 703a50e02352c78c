"""How a policy worked with a database: evidence in the record, and predicates for checklists."""

import re

from tir_gym.core.verify import Evidence
from tir_gym.core.view import EpisodeView
from tir_gym.rewards.checklist import predicate

_FENCE = re.compile(r"\A```(?:sql|sqlite)?[ \t]*\n(.*?)\n?```\Z", re.DOTALL | re.IGNORECASE)


def checklist(evidence: Evidence) -> dict[str, bool]:
    """Good habits, from the call log: metrics, no reward.

    Whether the policy looked at tables before its first query, ran its final query with success before it gave it, and
    never sent a statement again that had failed.
    """
    looks = [call.index for call in evidence.calls if call.tool in ("list_tables", "describe_table")]
    sent = [call.index for call in evidence.calls if call.tool in ("query", "explain", "execute")]
    return {
        "looked_before_querying": bool(looks) and (not sent or looks[0] < sent[0]),
        "ran_the_final_query": ran_the_final_query(evidence),
        "repeated_no_failure": repeated_no_failure(evidence),
    }


def ran_the_final_query(evidence: Evidence) -> bool:
    """Whether a query that worked was the answer, but for blanks and semicolons."""
    if evidence.answer is None:
        return False
    final = _plain(statement(evidence.answer.text))
    queries = [call for call in evidence.calls if call.tool == "query" and not call.error]
    return any(_plain(str(call.arguments.get("sql", ""))) == final for call in queries)


def repeated_no_failure(evidence: Evidence) -> bool:
    """Whether no statement that had failed was sent again."""
    failed = [call.key for call in evidence.calls if call.tool in ("query", "explain", "execute") and call.error]
    return len(set(failed)) == len(failed)


@predicate("sql_final_query_ran")
def final_query_ran(view: EpisodeView) -> bool:
    """The policy ran the query that it answered with, with success."""
    return ran_the_final_query(view.evidence)


@predicate("sql_no_failure_repeated")
def no_failure_repeated(view: EpisodeView) -> bool:
    """The episode is over, and no statement that had failed was sent again."""
    return view.ended and repeated_no_failure(view.evidence)


def statement(answer: str) -> str:
    """The query in an answer: without a code fence round it."""
    text = answer.strip()
    fenced = _FENCE.match(text)
    return fenced[1] if fenced else text


def _plain(sql: str) -> str:
    return " ".join(sql.rstrip("; \n").split())
