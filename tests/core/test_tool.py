"""Tools: a documented, typed method is all there is to write."""

import copy
import enum
import json
import pickle
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tir_gym.core.tool import (
    Effect,
    Finish,
    Output,
    Submit,
    ToolError,
    ToolKind,
    Toolkit,
    ToolRun,
    as_output,
    call_key,
    cut,
    tool,
)
from tir_gym.core.transcript import CallErrorType, TextPart


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Box(BaseModel):
    width: int
    label: str = ""


class Shop(Toolkit):
    @tool(kind="evidence", price=0.5, latency_s=2.0, parallel_safe=True, max_chars=100)
    def find_item(
        self,
        name: str,
        unit: Literal["kg", "piece"] = "piece",
        tags: list[str] = [],  # noqa: B006
        most: float = 9.5,
    ) -> str:
        """Look an item
        up by its name.

        It says more here, which the policy is not told.

        Args:
            name: what it is called,
                in any language
            unit: how it is counted
            most: the highest price

        Returns:
            a price: not a parameter
        """
        return f"{name} {unit} {tags} {most}"

    @tool(effect="write")
    def order(self, amount: int, note: str | None = None) -> dict[str, int]:
        """Order it."""
        return {"amount": amount}

    @tool()
    def pack(self, box: Box, colour: Colour, corner: tuple[int, int] = (0, 0)) -> str:
        """Pack it."""
        return f"{box.width} {colour.value} {corner[1]}"

    @tool(from_code=False)
    def query(self, schema: str, json: bool = False, copy: int = 1, model_config: str = "") -> str:
        """Take arguments whose names mean something to pydantic."""
        return f"{schema} {json} {copy} {model_config}"

    @tool(kind="control")
    def hand_in(self, answer: str) -> Submit:
        """Hand in."""
        return Submit(answer)

    @tool(kind="verification")
    def wait(self) -> ToolRun:
        """Wait for something."""
        yield object()


@pytest.fixture
def shop():
    return Shop()


def refused(shop, name, arguments):
    with pytest.raises(ToolError) as caught:
        shop.find(name).validate(arguments)
    return caught.value.error, str(caught.value)


# --- what a tool is --------------------------------------------------------------------------------------------------
def test_the_schema_comes_from_signature_and_docstring(shop):
    assert shop.find("find_item").schema == {
        "type": "function",
        "function": {
            "name": "find_item",
            "description": "Look an item up by its name.",
            "parameters": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "description": "what it is called, in any language"},
                    "unit": {
                        "type": "string",
                        "enum": ["kg", "piece"],
                        "default": "piece",
                        "description": "how it is counted",
                    },
                    "tags": {"type": "array", "items": {"type": "string"}, "default": []},
                    "most": {"type": "number", "default": 9.5, "description": "the highest price"},
                },
            },
        },
    }


def test_the_schema_is_a_new_object_each_time(shop):
    schema = shop.find("order").schema
    schema["function"]["parameters"]["properties"].clear()
    assert list(shop.find("order").schema["function"]["parameters"]["properties"]) == ["amount", "note"]
    json.dumps([tool.schema for tool in Shop.declared()])


def test_what_is_declared_is_kept(shop):
    find, wait = shop.find("find_item"), shop.find("wait")
    assert (find.kind, find.effect, find.price, find.latency_s) == (ToolKind.EVIDENCE, Effect.READ, 0.5, 2.0)
    assert (find.parallel_safe, find.from_code, find.max_chars, find.waits) == (True, True, 100, False)
    assert (wait.kind, wait.parallel_safe, wait.waits, wait.parameter_names) == ("verification", False, True, ())
    assert shop.find("order").effect is Effect.WRITE
    assert not shop.find("query").from_code
    assert [tool.name for tool in Shop.declared()] == ["find_item", "order", "pack", "query", "hand_in", "wait"]


def test_tools_are_inherited_and_replaced():
    class CornerShop(Shop):
        @tool(price=1.0)
        def order(self, amount: int) -> str:
            """Order at the corner."""
            return "ok"

    assert [tool.name for tool in CornerShop.declared()] == [tool.name for tool in Shop.declared()]
    assert CornerShop().find("order").description == "Order at the corner."
    assert Shop().find("order").description == "Order it."


# --- arguments -------------------------------------------------------------------------------------------------------
def test_defaults_are_filled_in(shop):
    tool = shop.find("find_item")
    assert tool.validate({"name": "salt"}) == {"name": "salt", "unit": "piece", "tags": [], "most": 9.5}
    assert shop.run(tool, tool.validate({"name": "salt", "most": 3})) == "salt piece [] 3.0"


def test_a_default_is_not_shared_between_calls(shop):
    shop.find("find_item").validate({"name": "salt"})["tags"].append("spice")
    assert shop.find("find_item").validate({"name": "salt"})["tags"] == []


def test_enums_tuples_and_models_are_given_as_json(shop):
    tool = shop.find("pack")
    valid = tool.validate({"box": {"width": 3}, "colour": "blue", "corner": [1, 2]})
    assert valid == {"box": Box(width=3), "colour": Colour.BLUE, "corner": (1, 2)}
    assert shop.run(tool, valid) == "3 blue 2"


def test_parameters_may_have_any_name(shop):
    tool = shop.find("query")
    assert tool.parameter_names == ("schema", "json", "copy", "model_config")
    assert shop.run(tool, tool.validate({"schema": "s", "model_config": "m"})) == "s False 1 m"


@pytest.mark.parametrize(
    ("name", "arguments", "error", "said"),
    [
        ("order", {}, "missing_required", "missing argument 'amount'; order takes (amount, note)"),
        ("wait", {"long": 1}, "unexpected_arg", "unexpected argument 'long'; wait takes (nothing)"),
        ("query", {"schema": "s", "argument_1": True}, "unexpected_arg", "unexpected argument 'argument_1'"),
        ("order", {"amount": "3"}, "type_mismatch", "argument 'amount': input should be a valid integer, not str"),
        ("order", {"amount": 3.0}, "type_mismatch", "argument 'amount': input should be a valid integer, not float"),
        ("order", {"amount": True}, "type_mismatch", "argument 'amount': input should be a valid integer, not bool"),
        ("order", {"amount": None}, "type_mismatch", "not NoneType"),
        ("find_item", {"name": 3}, "type_mismatch", "argument 'name': input should be a valid string, not int"),
        ("find_item", {"name": "x", "unit": "ton"}, "type_mismatch", "input should be 'kg' or 'piece', not 'ton'"),
        ("find_item", {"name": "x", "tags": ["a", 1]}, "type_mismatch", "argument 'tags.1'"),
        ("find_item", {"name": "x", "tags": "a"}, "type_mismatch", "argument 'tags': input should be a valid"),
        ("pack", {"box": {"width": "3"}, "colour": "red"}, "type_mismatch", "argument 'box.width'"),
        ("pack", {"box": {}, "colour": "red"}, "missing_required", "missing argument 'box.width'"),
        ("pack", {"box": {"width": 1}, "colour": "pink"}, "type_mismatch", "not 'pink'"),
        ("order", {"amount": {1, 2}}, "type_mismatch", "not JSON"),
    ],
)
def test_wrong_arguments_are_named_with_what_would_be_right(shop, name, arguments, error, said):
    kind, message = refused(shop, name, arguments)
    assert kind == CallErrorType(error)
    assert said in message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(arguments=st.dictionaries(st.sampled_from(["amount", "note", "other"]), json_values))
def test_arguments_are_taken_as_they_are_or_refused(arguments):
    tool = Shop().find("order")
    fits = (
        type(arguments.get("amount")) is int
        and isinstance(arguments.get("note"), str | None)
        and "other" not in arguments
    )
    try:
        assert tool.validate(arguments) == {"note": None, **arguments}
        assert fits
    except ToolError as error:
        assert not fits
        assert error.error in {"missing_required", "unexpected_arg", "type_mismatch"}  # noqa: PT017


# --- what is on offer ------------------------------------------------------------------------------------------------
def test_an_unknown_tool_is_answered_with_the_nearest_name_or_all_names(shop):
    with pytest.raises(ToolError, match="there is no tool 'find_itme'; did you mean 'find_item'") as caught:
        shop.find("find_itme")
    assert caught.value.error is CallErrorType.UNKNOWN_TOOL
    with pytest.raises(ToolError, match="the tools are: find_item, order, pack, query, hand_in, wait"):
        shop.find("x" * 10_000)
    shop.offer()
    with pytest.raises(ToolError, match="the tools are: none"):
        shop.find("order")


def test_a_method_that_is_no_tool_cannot_be_called(shop):
    for name in ("offer", "__init__", "fork", "run"):
        with pytest.raises(ToolError, match="there is no tool"):
            shop.find(name)


def test_offering_other_tools_raises_the_version(shop):
    assert shop.tools_version == 0
    shop.offer("order", "hand_in")
    assert [tool.name for tool in shop.tools] == ["order", "hand_in"]
    assert shop.tools_version == 1
    with pytest.raises(ToolError, match="there is no tool 'pack'"):
        shop.find("pack")
    with pytest.raises(ValueError, match="bread"):
        shop.offer("bread")
    assert shop.tools_version == 1
    shop.offer(*(tool.name for tool in Shop.declared()))
    assert shop.tools == Shop.declared()


def test_a_fork_of_a_toolkit_is_independent(shop):
    shop.offer("order")
    twin = shop.fork()
    twin.offer("pack", "query")
    assert [tool.name for tool in shop.tools] == ["order"]
    assert [tool.name for tool in copy.deepcopy(twin).tools] == ["pack", "query"]
    assert pickle.loads(pickle.dumps(twin)).tools_version == 2


# --- what is refused at class creation -------------------------------------------------------------------------------
def test_a_tool_without_a_docstring_is_refused():
    with pytest.raises(TypeError, match="tool 'buy' has no docstring"):

        class Silent(Toolkit):
            @tool()
            def buy(self, amount: int) -> str:
                return ""


def test_a_parameter_without_a_type_is_refused():
    with pytest.raises(TypeError, match="parameter 'amount' of tool 'buy' has no type"):

        class Vague(Toolkit):
            @tool()
            def buy(self, amount) -> str:
                """Buy."""
                return ""


def test_parameters_that_have_no_name_of_their_own_are_refused():
    with pytest.raises(TypeError, match="parameter 'amounts' of tool 'buy' cannot be given by name"):

        class Loose(Toolkit):
            @tool()
            def buy(self, *amounts: int) -> str:
                """Buy."""
                return ""


def test_a_tool_cannot_take_the_name_of_a_method_of_every_toolkit():
    with pytest.raises(TypeError, match="a tool cannot be called 'run'"):

        class Runner(Toolkit):
            @tool()
            def run(self, code: str) -> str:
                """Run."""
                return ""


def test_unknown_kinds_and_effects_and_overlapping_control_tools_are_refused():
    with pytest.raises(ValueError, match="sorcery"):
        tool(kind="sorcery")(lambda self: "")
    with pytest.raises(ValueError, match="maybe"):
        tool(effect="maybe")(lambda self: "")
    with pytest.raises(ValueError, match="may end the episode"):
        tool(kind="control", parallel_safe=True)


# --- what a tool returns ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "text", "for_code"),
    [
        ("as it is", "as it is", "as it is"),
        (None, "done", None),
        (3, "3", 3),
        ({"é": [1, 2.5]}, '{"é": [1, 2.5]}', {"é": [1, 2.5]}),
        (Box(width=2), '{"width": 2, "label": ""}', {"width": 2, "label": ""}),
        ((1, 2), "[1, 2]", [1, 2]),
        ({"at": Colour}, json.dumps({"at": str(Colour)}), {"at": str(Colour)}),
    ],
)
def test_what_a_tool_returns_is_text_for_the_policy_and_json_for_code(value, text, for_code):
    output = as_output(value)
    assert output.content == (TextPart(text),)
    assert output.value == for_code
    assert (output.facts, output.error) == ({}, CallErrorType.NONE)
    json.dumps(output.value)


def test_an_output_is_taken_as_it_is():
    output = Output((TextPart("a"),), 1, {"hits": 3}, CallErrorType.EXCEPTION)
    assert as_output(output) is output


def test_control_tools_say_how_the_episode_ends(shop):
    assert shop.run(shop.find("hand_in"), {"answer": "42"}) == Submit("42", None)
    assert Finish("tired").reason == "tired"


@given(text=st.text(max_size=300), limit=st.integers(1, 200))
def test_long_text_keeps_head_and_tail_and_states_what_is_missing(text, limit):
    short = cut(text, limit)
    if len(text) <= limit:
        assert short == text
    else:
        head = limit * 2 // 3
        tail = limit - head
        assert short == f"{text[:head]}\n[... {len(text) - limit} characters left out ...]\n{text[-tail:]}"


def test_equal_calls_have_equal_keys_whatever_the_order_of_their_arguments():
    assert call_key("f", {"a": 1, "b": [True, None]}) == call_key("f", {"b": [True, None], "a": 1})
    others = [("g", {"a": 1}), ("f", {"a": 2}), ("f", {"a": "1"}), ("f", {"a": 1, "b": 1}), ("f", {})]
    assert len({call_key(*other) for other in [("f", {"a": 1}), *others]}) == 6
