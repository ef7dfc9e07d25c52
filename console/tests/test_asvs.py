"""The answers to the ASVS: all requirements are there, and what an answer names exists."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from console import settings as settings_module

CHECKOUT = Path(__file__).resolve().parents[2]
# ASVS 5.0.0: how many requirements of levels 1 and 2 each chapter has.
COUNTS = {1: 27, 2: 11, 3: 19, 4: 10, 5: 9, 6: 35, 7: 18, 8: 7, 9: 7, 10: 29, 11: 14, 12: 9, 13: 13, 14: 9, 15: 13}
COUNTS |= {16: 16, 17: 7}
LEVELS = {1: 70, 2: 183}
KINDS = {"tests", "settings", "document", "reason"}


def answers() -> dict[str, dict[str, Any]]:
    # The parser refuses a requirement that stands twice.
    with (CHECKOUT / "docs" / "asvs.toml").open("rb") as file:
        requirements: dict[str, dict[str, Any]] = tomllib.load(file)["requirements"]
    return requirements


def test_every_requirement_of_levels_1_and_2_is_answered():
    found = answers()
    chapters = [int(number.split(".")[0]) for number in found]
    assert {chapter: chapters.count(chapter) for chapter in COUNTS} == COUNTS
    assert len(found) == sum(COUNTS.values()) == sum(LEVELS.values()) == 253
    levels = [answer["level"] for answer in found.values()]
    assert {level: levels.count(level) for level in LEVELS} == LEVELS


def test_every_answer_is_of_one_kind_and_says_something():
    for number, answer in answers().items():
        assert re.fullmatch(r"\d{1,2}\.\d{1,2}\.\d{1,2}", number)
        kinds = KINDS & set(answer)
        assert len(kinds) == 1, number
        assert set(answer) <= KINDS | {"level", "note"}, number
        assert answer[kinds.pop()], number
        assert len(answer.get("reason", "long enough")) >= 7, number


@pytest.mark.parametrize("number", [number for number, answer in answers().items() if "tests" in answer])
def test_the_tests_that_are_named_exist(number):
    for test in answers()[number]["tests"]:
        path, _, name = test.partition("::")
        assert name in names_in(path), test


@pytest.mark.parametrize("number", [number for number, answer in answers().items() if "settings" in answer])
def test_the_settings_that_are_named_exist_and_are_on(number):
    for name in answers()[number]["settings"]:
        assert hasattr(settings_module, name), name


@pytest.mark.parametrize("number", [number for number, answer in answers().items() if "document" in answer])
def test_the_documents_that_are_named_have_the_heading(number):
    path, _, heading = answers()[number]["document"].partition("#")
    text = (CHECKOUT / path).read_text()
    assert not heading or re.search(rf"^#+ {re.escape(heading)}$", text, flags=re.MULTILINE), heading


def test_a_name_that_is_gone_would_be_seen():
    assert "test_no_such_test" not in names_in("console/tests/test_asvs.py")
    assert "test_a_name_that_is_gone_would_be_seen" in names_in("console/tests/test_asvs.py")


@cache
def names_in(path: str) -> frozenset[str]:
    """The functions of a test file, read and not imported."""
    tree = ast.parse((CHECKOUT / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
