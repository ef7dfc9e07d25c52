"""The functions of the ledger as SQL files, one story each, installed by migrations.

``credits_*`` is what the product calls. ``credits__*`` is internal: the runtime role may not execute it. A folder is
a version; once released it stays as it is, and a change is a new folder with a new migration. ``checks`` stands apart:
tables depend on its functions, so they are replaced and never dropped. ``once`` has what migrations do
on their way from one version to the next.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent

VERSION = "v2"
CHECKS = "checks"
FILES = (
    "clock", "burn_order", "entries", "results", "events", "lock", "lots", "debt", "holds", "prices", "authorize",
    "charge", "charge_many", "usage_days", "capture", "void", "grant", "expiry", "corrections", "reload_line", "reads",
    "row_checks", "guards",
)  # fmt: skip


def read(name: str, *, version: str = VERSION) -> str:
    """The text of one file, for a migration."""
    return (_FOLDER / version / f"{name}.sql").read_text(encoding="utf-8")
