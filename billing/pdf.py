"""A receipt or credit note as a PDF file, from its words alone: the same words give the same bytes.

The fonts that are shipped write Latin, Greek and Cyrillic. For other scripts RECEIPT_FONTS names font files of the
machine; where none of them has all of a text, REPLACEMENT stands in its place, and the file says where it can be read.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from django.conf import settings
from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import TTFFont

from billing.documents import Line, Party, Printed

FONTS: Final = Path(__file__).resolve().parent / "fonts"
FAMILY: Final = "Noto Sans"
# What Unicode has for a character that can't be shown.
REPLACEMENT: Final = "\ufffd"

# A4, in millimeters.
MARGIN: Final = 20
WIDTH: Final = 210 - 2 * MARGIN
GAP: Final = 8
AMOUNT_WIDTH: Final = 40
LABEL_WIDTH: Final = 46

INK: Final = (28, 27, 34)
SOFT: Final = (90, 88, 99)
RULE: Final = (200, 198, 192)

logger = logging.getLogger(__name__)


def pdf_of(printed: Printed, *, page_url: str) -> bytes:
    """The document as a file. ``page_url`` is where its page is, for what the fonts can't show."""
    sheet = _Sheet(printed)
    sheet.add_page()
    _write_head(sheet, printed)
    _write_parties(sheet, *printed.parties)
    _write_facts(sheet, printed.facts)
    _write_sums(sheet, printed)
    if printed.credit:
        sheet.ln(4)
        _write_facts(sheet, printed.credit)
    _write_notes(sheet, printed.notes)
    if sheet.has_replaced:
        _write_notes(sheet, (f"Characters that are shown as {REPLACEMENT} can be read at {page_url}",))
    return bytes(sheet.output())


class _Sheet(FPDF):
    """An A4 page in the fonts of this product, with the document's number and the page's below."""

    def __init__(self, printed: Printed) -> None:
        super().__init__(format="A4", unit="mm")
        self.footer_text = f"{printed.title} {printed.number}"
        self.set_title(f"{printed.title} {printed.number}")
        self.set_author(printed.seller.name)
        self.set_subject(printed.item.label)
        self.set_creator("Credit Console")
        self.set_lang("en-US")
        self.set_creation_date(printed.issued_at)
        self.set_margin(MARGIN)
        self.set_auto_page_break(True, margin=MARGIN + 6)
        self.add_font(FAMILY, "", FONTS / "NotoSans-Regular.ttf")
        self.add_font(FAMILY, "B", FONTS / "NotoSans-SemiBold.ttf")
        self.has_replaced = False
        self.set_draw_color(*RULE)
        self.write_in(9.5)

    def write_in(self, size: float, *, bold: bool = False, color: tuple[int, int, int] = INK) -> None:
        """Go on in this size, weight and color."""
        self.set_font(FAMILY, "B" if bold else "", size)
        self.set_text_color(*color)

    def block(self, text: str, *, x: float, width: float, height: float = 5, align: str = "L") -> None:
        """A paragraph in its own column; the next one begins below it."""
        self.set_x(x)
        family = self._family_for(text)
        if family is None:
            known = self._letters_of(FAMILY)
            text = "".join(letter if ord(letter) in known else REPLACEMENT for letter in text)
            self.has_replaced = True
        # A paragraph is in one font as a whole: fpdf2's own fallback fonts lose the size of what follows them.
        self.set_font(family or FAMILY, self.font_style)
        self.multi_cell(width, height, text, align=align, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_font(FAMILY, self.font_style)

    def _family_for(self, text: str) -> str | None:
        """The first font that has all of the text; the files of RECEIPT_FONTS are only opened where they are needed."""
        letters = {ord(letter) for letter in text}
        if letters <= self._letters_of(FAMILY):
            return FAMILY
        for place, file in enumerate(settings.RECEIPT_FONTS):
            family = f"More {place}"
            if self._has_font(family, file) and letters <= self._letters_of(family):
                return family
        return None

    def _has_font(self, family: str, file: str) -> bool:
        """Whether a file of RECEIPT_FONTS is there as a font, opened now if it is not yet."""
        if family.lower() in self.fonts:
            return True
        path, _, number = file.partition("#")
        try:
            for style in ("", "B"):
                self.add_font(family, style, path, collection_font_number=int(number or 0))
        except (OSError, ValueError, RuntimeError):
            logger.exception("The font %s of RECEIPT_FONTS can't be used.", file)
            return False
        return True

    def _letters_of(self, family: str) -> set[int]:
        font = self.fonts[family.lower()]
        return set(font.cmap) if isinstance(font, TTFFont) else set()

    def rule(self) -> None:
        """A thin line across the page."""
        self.line(MARGIN, self.get_y(), MARGIN + WIDTH, self.get_y())

    def footer(self) -> None:
        """The document's number and the page's, below each page."""
        self.set_y(-MARGIN)
        self.write_in(8, color=SOFT)
        self.cell(WIDTH / 2, 5, self.footer_text, align="L")
        self.cell(WIDTH / 2, 5, f"Page {self.page_no()} of {{nb}}", align="R")


def _write_head(sheet: _Sheet, printed: Printed) -> None:
    sheet.write_in(20, bold=True)
    sheet.block(printed.title, x=MARGIN, width=WIDTH, height=10)
    sheet.write_in(11, color=SOFT)
    sheet.block(printed.number, x=MARGIN, width=WIDTH, height=6)
    sheet.ln(8)


def _write_parties(sheet: _Sheet, *parties: Party) -> None:
    """Side by side, from the same line on."""
    width = (WIDTH - GAP) / 2
    top, ends = sheet.get_y(), []
    for place, party in enumerate(parties):
        x = MARGIN + place * (width + GAP)
        sheet.set_y(top)
        sheet.write_in(8.5, color=SOFT)
        sheet.block(party.role, x=x, width=width)
        sheet.write_in(9.5, bold=True)
        sheet.block(party.name, x=x, width=width)
        sheet.write_in(9.5)
        for text in (*party.address, *((f"Tax ID {party.tax_id}",) if party.tax_id else ()), party.email):
            if text:
                sheet.block(text, x=x, width=width)
        ends.append(sheet.get_y())
    sheet.set_y(max(ends))
    sheet.ln(8)


def _write_facts(sheet: _Sheet, facts: Iterable[Line]) -> None:
    for fact in facts:
        top, page = sheet.get_y(), sheet.page_no()
        sheet.write_in(9.5, color=SOFT)
        sheet.block(fact.label, x=MARGIN, width=LABEL_WIDTH)
        sheet.set_y(top if sheet.page_no() == page else MARGIN)
        sheet.write_in(9.5)
        sheet.block(fact.text, x=MARGIN + LABEL_WIDTH, width=WIDTH - LABEL_WIDTH)
        sheet.ln(0.8)


def _write_sums(sheet: _Sheet, printed: Printed) -> None:
    sheet.ln(6)
    sheet.write_in(8.5, color=SOFT)
    sheet.cell(WIDTH - AMOUNT_WIDTH, 6, "Description")
    sheet.cell(AMOUNT_WIDTH, 6, "Amount (USD)", align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    sheet.rule()
    sheet.ln(2)
    _write_row(sheet, printed.item)
    sheet.ln(2)
    sheet.rule()
    sheet.ln(2)
    *parts, total = printed.sums
    for line in parts:
        _write_row(sheet, line)
    sheet.ln(1)
    _write_row(sheet, total, bold=True)
    sheet.ln(2)
    sheet.rule()
    sheet.ln(2)


def _write_row(sheet: _Sheet, line: Line, *, bold: bool = False) -> None:
    """What, and how much at the right of its first line."""
    sheet.write_in(10.5 if bold else 9.5, bold=bold)
    top, page = sheet.get_y(), sheet.page_no()
    sheet.block(line.label, x=MARGIN, width=WIDTH - AMOUNT_WIDTH - GAP)
    if line.detail:
        sheet.write_in(8.5, color=SOFT)
        sheet.block(line.detail, x=MARGIN, width=WIDTH - AMOUNT_WIDTH - GAP)
        sheet.write_in(9.5)
    bottom = sheet.get_y()
    if sheet.page_no() == page:
        sheet.set_y(top)
    sheet.block(line.text, x=MARGIN + WIDTH - AMOUNT_WIDTH, width=AMOUNT_WIDTH, align="R")
    sheet.set_y(max(bottom, sheet.get_y()))


def _write_notes(sheet: _Sheet, notes: Iterable[str]) -> None:
    sheet.ln(8)
    sheet.write_in(8.5, color=SOFT)
    for note in notes:
        sheet.block(note, x=MARGIN, width=WIDTH, height=4.5)
        sheet.ln(1)
