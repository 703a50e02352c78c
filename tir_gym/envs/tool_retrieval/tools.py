"""The agent's tool: a search for tools."""

from typing import Annotated, Any

from pydantic import Field

from tir_gym.core.interfaces import Retriever
from tir_gym.core.requests import Retrieve
from tir_gym.core.tool import Output, Toolkit, ToolRun, tool
from tir_gym.core.transcript import TextPart

MAX_QUERY = 2_000


class CounterToolkit(Toolkit):
    """A search of the descriptions."""

    def __init__(self, retriever: Retriever, k: int) -> None:
        super().__init__()
        self._retriever, self._k = retriever, k

    def __deepcopy__(self, memo: dict[int, Any]) -> "CounterToolkit":
        copied = type(self)(self._retriever, self._k)
        copied._withheld, copied.tools_version = self._withheld, self.tools_version
        return copied

    @tool(kind="evidence", latency_s=0.1, parallel_safe=True, max_chars=20_000)
    def search(self, query: Annotated[str, Field(max_length=MAX_QUERY)]) -> ToolRun:
        """Search the descriptions of the tools there are.

        Args:
            query: What the tool should do, in a few words.
        """
        (hits,) = yield Retrieve(self._retriever, [query], self._k)
        lines = [f"Tool {number}: {hit.id} | {hit.text[:600]}" for number, hit in enumerate(hits, 1)]
        text = "\n".join(lines) or "Nothing was found; try other words."
        return Output((TextPart(text),), text, {"hits": [hit.id for hit in hits]})
