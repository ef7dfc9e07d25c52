"""What one mutant changes: a stretch of one file, replaced by another text."""

from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters ``start`` to ``end`` of a text become ``new``; ``operator`` says what sort of edit that is."""

    operator: str
    start: int
    end: int
    new: str

    def applied(self, text: str) -> str:
        """The edited text."""
        return text[: self.start] + self.new + text[self.end :]


@dataclass(frozen=True, slots=True)
class Mutant:
    """An edit of a function. ``path`` is relative to the checkout, ``function`` as the database or Python calls it."""

    path: str
    function: str
    edit: Edit

    @property
    def text(self) -> str:
        """The file as it stands."""
        return (CHECKOUT / self.path).read_text(encoding="utf-8")

    @property
    def is_sql(self) -> bool:
        """Whether the database runs it."""
        return self.path.endswith(".sql")

    @property
    def place(self) -> str:
        """What tells it from all others, as long as its file stays as it is."""
        return f"{self.told()} @{self.edit.start}"

    def told(self) -> str:
        """File, line, and what became of which text, on one line."""
        text = self.text
        line = text.count("\n", 0, self.edit.start) + 1
        old = " ".join(text[self.edit.start : self.edit.end].split())
        new = " ".join(self.edit.new.split())
        return f"{self.path}:{line} {self.function} [{self.edit.operator}] {old or '(nothing)'} -> {new or '(nothing)'}"
