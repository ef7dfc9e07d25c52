"""The functions of the ledger as SQL files, one story each, installed by migrations.

``credits_*`` is what the product calls. ``credits__*`` is internal: the runtime role may not execute it. A folder is
a version; once released it stays as it is, and a change is a new folder with a new migration.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent

V1 = ("clock", "burn_order", "entries", "lock", "lots", "debt", "holds", "prices", "results", "authorize", "charge",
      "capture", "void", "grant", "expiry", "reload_line", "reads", "guards")  # fmt: skip


def read(version: str, name: str) -> str:
    """The text of one file, for a migration."""
    return (_FOLDER / version / f"{name}.sql").read_text(encoding="utf-8")
