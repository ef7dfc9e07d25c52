"""The list of other systems' failures, counted: each case has a test that carries its number.

A test is named ``test_case_037_...``, or ``test_case_038_and_039_...`` where it shows several. docs/cases.md says for
each number what shows it, and for a case that can't occur what makes it impossible.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EVERY_CASE = range(1, 133)
_TEST = re.compile(r"^ *def test_case_(\d{3}(?:_and_\d{3})*)_\w+\(", re.MULTILINE)
_ROW = re.compile(r"^\| (\d+) \|", re.MULTILINE)


def numbers_tested() -> set[int]:
    """The numbers that tests carry."""
    return {
        int(number)
        for folder in ("accounts", "billing", "console")
        for file in (ROOT / folder).rglob("test_*.py")
        for numbers in _TEST.findall(file.read_text())
        for number in numbers.split("_and_")
    }


def test_every_case_has_a_test_with_its_number():
    assert numbers_tested() == set(EVERY_CASE)


def test_the_list_of_cases_names_each_of_them_once():
    rows = [int(number) for number in _ROW.findall((ROOT / "docs" / "cases.md").read_text())]
    assert sorted(rows) == list(EVERY_CASE)
