"""Files for spreadsheets: no text in them is computed, none is changed otherwise."""

import csv
from io import StringIO

import pytest

from accounts import csv_files

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x", "\t=1", "\r=1", "\n=1"]
BLANKS = ["", " ", "   ", "\u00a0", " \u00a0 ", "\u2003", "\u200b", "\ufeff", "\u3000"]


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("blank", BLANKS)
def test_a_formula_is_text(formula, blank):
    assert csv_files.plain_text(blank + formula).startswith("'")


@pytest.mark.parametrize("formula", ["=1+1", "\u00a0@SUM(A1)", "\t-1", "\uff1d1"])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_formula_in_a_later_line_is_text(formula, end):
    assert csv_files.plain_text(f"first{end}{formula}{end}last") == f"first{end}'{formula}{end}last"


@pytest.mark.parametrize("text", ["", "Ada Admin", "a=b", "a-b\nc+d", "1.50", "req_1", "'=1", "  Ada", "ada@acme.test"])
def test_other_text_stays_as_it_is(text):
    assert csv_files.plain_text(text) == text


@pytest.mark.parametrize("start", ["\t", "\r", "\n"])
def test_a_cell_that_begins_with_a_control_character_is_text(start):
    assert csv_files.plain_text(f"{start}Ada").startswith("'")


def test_every_cell_is_quoted_and_the_file_says_that_it_is_utf_8():
    text = "".join(csv_files.lines(headings=["a", "b"], rows=[["1", 'say "x", ü\nz']]))
    assert text == '\ufeff"a","b"\r\n"1","say ""x"", ü\nz"\r\n'
    assert list(csv.reader(StringIO(text.removeprefix("\ufeff"), newline=""))) == [["a", "b"], ["1", 'say "x", ü\nz']]


def test_lines_are_made_when_they_are_asked_for():
    def rows():
        yield ["1"]
        raise AssertionError

    made = csv_files.lines(headings=["a"], rows=rows())
    assert [next(made), next(made)] == ['\ufeff"a"\r\n', '"1"\r\n']
