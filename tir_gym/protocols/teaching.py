"""What a system prompt says about tools, in any syntax."""

from collections.abc import Sequence
from typing import Any

from tir_gym.core.action import ToolCall
from tir_gym.core.interfaces import ToolSpec
from tir_gym.protocols.json_args import encode

_SAMPLES: dict[str, Any] = {"string": "...", "integer": 1, "number": 0.5, "boolean": True, "array": [], "object": {}}


def tool_list(tools: Sequence[ToolSpec]) -> str:
    """Name, description and the JSON schema of the arguments of each tool, two lines a tool."""
    return "\n".join(f"- {tool.name}: {tool.description}\n  arguments: {encode(tool.parameters)}" for tool in tools)


def sample_call(tools: Sequence[ToolSpec]) -> ToolCall:
    """A call of the first tool that needs arguments, or of the first, with arguments filled in by their schemas."""
    tool = next((tool for tool in tools if tool.parameters.get("required")), tools[0])
    properties: dict[str, Any] = tool.parameters.get("properties", {})
    wanted = tool.parameters.get("required") or list(properties)[:1]
    return ToolCall(tool.name, {name: _sample(name, properties.get(name, {})) for name in wanted})


def _sample(name: str, schema: dict[str, Any]) -> Any:
    if name == "code":
        return "total = sum(range(10))\nprint(total)"
    for known in ("examples", "enum"):
        if schema.get(known):
            return schema[known][0]
    if "default" in schema:
        return schema["default"]
    kind = schema.get("anyOf", [schema])[0].get("type")
    return _SAMPLES.get(str(kind), "...")
