"""Files for spreadsheets. Text that somebody else chose can't become a formula in them.

Guarded as OWASP's page on CSV injection asks: what begins with a sign that a spreadsheet computes, after blanks and in
any line of a cell, gets an apostrophe before it; and everything is quoted.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

# Excel reads a file without it in the machine's own code page.
BYTE_ORDER_MARK: Final = "\ufeff"
# What a spreadsheet takes for the beginning of a formula, also in the full-width forms that some read alike; blanks,
# and characters that show nothing, may stand before it.
_FORMULA: Final = re.compile("[\\s\u200b\u2060\ufeff]*[=+\\-@\uff1d\uff0b\uff0d\uff20]")
_CONTROL: Final = re.compile("[\\s\u200b\u2060\ufeff]*?[\t\r\n]")
_LINE_END: Final = re.compile("(\r\n|\r|\n)")


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, line: str) -> str:
        return line


def plain_text(text: str) -> str:
    """The text of a cell, kept from being read as a formula in any of its lines."""
    guarded = "".join(f"'{part}" if _FORMULA.match(part) else part for part in _LINE_END.split(text))
    return f"'{guarded}" if _CONTROL.match(guarded) else guarded


def lines(*, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a file, each made when it is asked for. Guarding texts is up to whoever makes the rows."""
    writer = csv.writer(_Echo(), quoting=csv.QUOTE_ALL)
    yield BYTE_ORDER_MARK + writer.writerow(headings)
    for row in rows:
        yield writer.writerow(row)
