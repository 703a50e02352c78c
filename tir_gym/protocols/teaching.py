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


def signature(tool: ToolSpec) -> str:
    """The tool as the head of a Python function, from the JSON schema of its arguments."""
    properties: dict[str, Any] = tool.parameters.get("properties", {})
    required = set(tool.parameters.get("required", ()))
    shown = []
    for name in tool.parameter_names:
        schema = properties.get(name, {})
        default = "" if name in required else f" = {schema.get('default')!r}"
        shown.append(f"{name}: {_type(schema)}{default}")
    return f"{tool.name}({', '.join(shown)})"


_TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None", "object": "dict"}


def _type(schema: dict[str, Any]) -> str:
    if kinds := schema.get("anyOf"):
        return " | ".join(map(_type, kinds))
    if schema.get("type") == "array":
        return f"list[{_type(schema.get('items', {}))}]"
    return _TYPES.get(str(schema.get("type")), "Any")


def sample_call(tools: Sequence[ToolSpec]) -> ToolCall:
    """A call of the first tool that needs arguments, or of the first, with arguments filled in by their schemas.

    There is at least one tool.
    """
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
