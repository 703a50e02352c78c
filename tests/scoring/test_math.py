"""Final answers: what counts as equal, what must not, and that no text breaks or slows the comparison."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.scoring.math import MAX_DIGITS, Number, equivalent, last_boxed, parse

pytestmark = pytest.mark.usefixtures("worker")


EQUAL = {
    "integers": [
        ("18", "18"),
        ("+18", "18"),
        ("-5", "−5"),
        ("025", "25"),
        ("145.0", "145"),
        ("18.", "18"),
        ("１８", "18"),
    ],
    "thousands": [
        ("1,234", "1234"),
        ("1{,}234", "1234"),
        (r"1\,234", "1234"),
        ("1 000", "1000"),
        (r"32,\! 349", "32349"),
    ],
    "decimals": [(".4", "0.4"), ("0.50", "1/2"), ("1,000.99", "1000.99"), ("-0.125", r"-\frac18")],
    "fractions": [
        (r"\frac{14}{3}", "14/3"),
        (r"\dfrac12", r"\tfrac{1}{2}"),
        (r"\frac9{19}", "9/19"),
        (r"\frac 34", "3/4"),
        ("-10/9", r"-\frac{10}{9}"),
        (r"\frac{-1}{2}", "-1/2"),
        ("2/4", "1/2"),
        ("3/-6", "-1/2"),
    ],
    "mixed": [(r"137 \frac{1}{2}", "275/2"), (r"1\frac{1}{2}", "1.5"), ("1 1/2", "3/2"), (r"-2\frac12", "-2.5")],
    "percent": [("10%", r"10\%"), ("10 percent", "10%"), ("10%", "0.1"), ("28 pct", r"$28\%$"), ("12.5%", "1/8")],
    "scientific": [
        ("1.2e3", "1200"),
        (r"1.2\times10^{3}", "1200"),
        (r"1.09 \times 10^{0}", "1.09"),
        ("10^{-2}", "0.01"),
        ("3 × 10^4", "30000"),
    ],
    "money and units": [
        ("$18", "18"),
        (r"\$18.90", "18.9"),
        ("18 dollars", "18"),
        ("18 dollars", "$18"),
        (r"\$32,\!348", "32348"),
        (r"15\mbox{ cm}^2", "15 cm^2"),
        ("60 miles per hour", "60 mph"),
        (r"90^\circ", "90 degrees"),
        ("7 square meters", "7 meters^2"),
        ("18 eggs", "18"),
        ("€5", "5 euros"),
    ],
    "wrappers": [
        (r"$\boxed{\text{(C)}}.$", "C"),
        (r"\( 9 \)", "9"),
        ("**42**", "42"),
        ("The final answer is **42**.", "42"),
        ("The answer is 42.", "42"),
        (r"Final Answer: The final answer is $10,455$. I hope it is correct.", "10455"),
        ("Answer: 7", "7"),
    ],
    "tuples": [
        ("(1, 2)", "(1,2)"),
        (r"\left(\frac{3}{5},\frac{8}{3}\right]", "(0.6, 8/3]"),
        ("[0,1)", r"\left[0,1\right)"),
        ("((1,2),(3,4))", r"\left((1, 2), (3, 4)\right)"),
        ("(5)", "5"),
    ],
    "orderless": [
        (r"\{1,2\}", "{2, 1}"),
        ("-7, -2", "-2,-7"),
        ("4 and 7", "7, 4"),
        ("21,16$ or $11$", "11, 16, 21"),
        ("(0,2),(0,-2)", "(0,-2), (0,2)"),
    ],
    "names": [("x=5", "5"), ("x=5", "x = 5"), (r"x \in [-2,7]", "[-2,7]"), ("f(x)=2 x", "f(x) = 2x")],
    "choices and words": [("(A)", "A"), ("B.", "B"), (r"\text{Evelyn}", "evelyn"), ("Yes", r"\text{yes}")],
    "latex strings": [
        (r"2\sqrt{5}", r"2 \sqrt5"),
        (r"x \le 2", "x <= 2"),
        (r"\frac{\sqrt3}{3}", r"\dfrac{\sqrt{3}}{3}"),
        (r"x^{2}+1", "x^2 + 1"),
        ("inf", r"\infty"),
        ("-∞", "-inf"),
    ],
}

UNEQUAL = {
    "dumping": [("3 or 4", "3"), ("1, 2, 3", "3"), ("3 and 3", "3"), ("{3}, {4}", "3"), ("It is 3, maybe 4", "4")],
    "approximation": [
        ("0.333333", "1/3"),
        ("3.14159", r"\pi"),
        ("12345678901234567890", "12345678901234567891"),
        ("1e16", "10000000000000001"),
        ("0.1428571", r"\frac17"),
    ],
    "percent": [("10%", "10"), ("0.1%", "10%")],
    "units": [
        ("10 cm", "10 m"),
        ("10 cm", "10 km"),
        ("18 dollars", "18 cents"),
        ("5 million", "5"),
        ("5 x", "5"),
        ("5 cm^2", "5 cm"),
    ],
    "structure": [
        ("(1,2)", "(2,1)"),
        ("(1,2)", "[1,2]"),
        ("(0,9)", "[0,9)"),
        ("(1,2)", "1,2"),
        ("(1,2,3)", "(1,2)"),
        ("(1,234)", "1234"),
        (r"\{1,2\}", "(1,2)"),
    ],
    "names": [("x=5", "y=5"), ("x=5", "x=6"), ("A", "B"), ("d", r"\text{E}")],
    "not numbers": [
        ("٣", "3"),
        ("5²", "52"),
        ("nan", "nan"),
        ("", ""),
        ("  ", ""),
        ("1/0", "0"),
        ("--5", "5"),
        ("1,22", "122"),
        ("AZYUK2A", "2"),
        ("√30", r"\sqrt{3}0"),
    ],
    "prose": [("the number is not 10 but 11", "10"), ("it is 10 or it is 11", "11"), ("it is not 11", "11")],
    "symbols": [(r"x \geq 5", r"x \leq 5"), (r"4\sqrt{2}", "4"), ("x+1", "x+2")],
}


def _pairs(table: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str]]:
    return [pair for pairs in table.values() for pair in pairs]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(("answer", "gold"), _pairs(EQUAL))
def test_equal(answer: str, gold: str) -> None:
    assert equivalent(answer, gold)
    assert equivalent(gold, answer)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(("answer", "gold"), _pairs(UNEQUAL))
def test_unequal(answer: str, gold: str) -> None:
    assert not equivalent(answer, gold)
    assert not equivalent(gold, answer)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed {\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{1, \boxed{2}}", r"1, \boxed{2}"),
        (r"\fbox{3}", "3"),
        (r"\boxed{1} and \boxed{2", "1"),
        (r"\boxed{", None),
        ("no box", None),
        (r"} } \boxed{5} {", "5"),
    ],
)
def test_last_boxed(text: str, content: str | None) -> None:
    assert last_boxed(text) == content


def test_huge_integers_are_exact_and_bounded() -> None:
    digits = "7" * (MAX_DIGITS - 1)
    assert equivalent(digits + "1", digits + "1")
    assert not equivalent(digits + "1", digits + "2")
    assert parse("7" * (MAX_DIGITS + 1)) is None
    assert not equivalent("1e999999", "1e999998")


def test_the_doc_rules_hold_for_large_exponents() -> None:
    assert equivalent("1e1000", "1" + "0" * 1000)
    assert not equivalent("1e1001", "1" + "0" * 1001)


ADVERSARIAL = {
    "boxes": r"\boxed{" * 50_000,
    "boxes and spaces": (r"\boxed" + " " * 50) * 2_000,
    "answers": "answer is " * 20_000,
    "brackets": "(" * 2_000,
    "nested tuples": "(1," * 300 + "1" + ")" * 300,
    "long list": "1," * 255 + "1",
    "fractions": r"\frac1" * 400,
    "digits and spaces": "1 " * 1_000,
    "signs": "-" * 2_000,
    "dollars": "$" * 2_000,
    "scripts": "a^{" * 600,
}


@pytest.mark.parametrize("text", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_adversarial_text_is_read_in_linear_time(text: str) -> None:
    equivalent(text, text)
    parse(text + "1")


@given(st.text())
def test_any_text_is_accepted(text: str) -> None:
    value = parse(text)
    assert equivalent(text, text) is (value is not None)
    last_boxed(text)


FRAGMENTS = st.lists(
    st.sampled_from(
        [
            *"0123456789.,;/+-=$%^_{}()[] eE",
            "\\",
            r"\frac",
            r"\boxed{",
            r"\{",
            r"\text{",
            r"\times",
            r"\left",
            "and ",
            " or ",
            "1{,}234",
            r"\$",
            "dollars",
            "cm",
            "°",
            "²",
            "√",
            "\ud800",
            "１",
            "x",
            "A",
            "nan",
            "inf",
            "answer is ",
        ]
    ),
    max_size=30,
).map("".join)


@given(FRAGMENTS, FRAGMENTS)
def test_any_mixture_of_tokens_is_accepted_and_symmetric(one: str, two: str) -> None:
    assert equivalent(one, two) == equivalent(two, one)
    assert equivalent(one, one) is (parse(one) is not None)


@given(st.integers(-(10**60), 10**60))
def test_an_integer_equals_itself_only(n: int) -> None:
    assert equivalent(str(n), f"{n:,}")
    assert equivalent(f"\\boxed{{{n}}}", str(n))
    assert not equivalent(str(n), str(n + 1))


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**6), st.integers(1, 50))
def test_all_spellings_of_a_fraction_agree(top: int, bottom: int, scale: int) -> None:
    value = Fraction(top, bottom)
    sign = "-" if value < 0 else ""
    numerator, denominator = abs(value.numerator), value.denominator
    spellings = [
        f"{value.numerator}/{denominator}",
        f"{top * scale}/{bottom * scale}",
        f"{sign}\\frac{{{numerator}}}{{{denominator}}}",
        f"$\\dfrac{{{value.numerator}}}{{{denominator}}}$",
    ]
    if numerator > denominator > 1:
        spellings.append(f"{sign}{numerator // denominator}\\frac{{{numerator % denominator}}}{{{denominator}}}")
    for spelling in spellings:
        assert parse(spelling) == Number(value), spelling
    assert not equivalent(spellings[0], f"{value.numerator + 1}/{denominator}")


@given(st.integers(-(10**9), 10**9), st.integers(0, 9))
def test_all_spellings_of_a_decimal_agree(digits: int, places: int) -> None:
    value = Fraction(digits, 10**places)
    for spelling in (f"{digits}e-{places}", f"{digits} \\times 10^{{-{places}}}", f"{100 * digits}e-{places}%"):
        assert parse(spelling) == Number(value), spelling


def _gsm8k(path: Path) -> list[str]:
    with path.open() as lines:
        return [json.loads(line)["answer"].rpartition("####")[2].strip() for line in lines]


def _field(path: Path, name: str) -> list[str]:
    with path.open() as lines:
        values = [json.loads(line)[name] for line in lines]
    return [value[0] if isinstance(value, list) else str(value) for value in values]


SAME_BY_RULE = {
    frozenset({"1,080", "1080"}),  # one number
    frozenset({"5", "x=5"}),  # a name may be left out
    frozenset({"$k=1$", "1"}),
    frozenset({"$2 n$", "$2n$"}),  # one expression
}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("file", "field"),
    [
        ("gsm8k/test.jsonl", ""),
        ("gsm8k/train.jsonl", ""),
        ("math/math500_first100.jsonl", "answer"),
        ("math/aime24.jsonl", "answer"),
        ("math/amc23.jsonl", "answer"),
        ("math/svamp_first100.jsonl", "Answer"),
        ("math/college_math_first60.jsonl", "answer"),
        ("math/olympiadbench_first60.jsonl", "final_answer"),
    ],
)
def test_golds_equal_themselves_and_no_other(shared_data: Path, file: str, field: str) -> None:
    path = shared_data / file
    golds = sorted(set(_field(path, field) if field else _gsm8k(path)))
    for i, gold in enumerate(golds):
        assert equivalent(gold, gold), gold
        assert equivalent(f"So it is $\\boxed{{{gold}}}$.", gold) or "$" in gold, gold
        for other in golds[i + 1 :]:
            assert not equivalent(gold, other) or {gold, other} in SAME_BY_RULE, (gold, other)


@pytest.mark.parametrize("text", ["ANSWER: 5", "= 5", "Answer = 5", "the answer is = 5", "Final Answer: 5"])
def test_what_leads_to_an_answer_is_not_part_of_it(text: str) -> None:
    assert equivalent(text, "5")


@pytest.mark.parametrize(("text", "gold"), [("12 dozen", "12"), ("5 cents", "5"), ("3 pairs", "3"), ("x = = 5", "5")])
def test_a_word_that_changes_the_number_is_no_unit(text: str, gold: str) -> None:
    assert not equivalent(text, gold)
