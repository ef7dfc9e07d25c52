"""Prove every invariant of the ledger, in one snapshot that nothing can write to. It reports, and never repairs."""

import json
import time
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from accounts.models import Organization
from billing.credits import invariants
from billing.credits.invariants import ROWS_SHOWN, Finding, Head, Severity, Verdict
from billing.payments import agreement


class Command(BaseCommand):
    help = (
        "Check every invariant of the ledger, in one read-only snapshot. Exit status 0: all hold; 1: at least one is "
        "violated, and the report names it and its rows. Warnings tell of work that waits too long; they don't fail."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", metavar="SLUG", help="check the rows of one organization only")
        parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
        parser.add_argument("--rows", type=int, default=ROWS_SHOWN, help="rows to name of each broken invariant")
        parser.add_argument(
            "--heads",
            metavar="FILE",
            type=Path,
            help="compare the chains with the heads kept in FILE and, if nothing is violated, add those of now; keep "
            "FILE where the database's administrators can't write",
        )
        parser.add_argument("--stripe", action="store_true", help="also compare payments with Stripe, both ways")

    def handle(self, *args: Any, **options: Any) -> None:
        began = time.monotonic()
        slug, rows_shown = options["organization"], options["rows"]
        organization_id = organization_named(slug)
        lines: list[dict[str, Any]] = []
        with snapshot():
            at = now()
            if not options["json"]:
                self.stdout.write(f"Ledger of {slug or 'all organizations'} at {at:%Y-%m-%d %H:%M:%S.%f} UTC")
            with connection.cursor() as cursor:
                for verdict in invariants.examine(
                    cursor, at=at, organization_id=organization_id, rows_shown=rows_shown
                ):
                    lines.append(self.tell(verdict, is_json=options["json"]))
                if options["heads"] is not None:
                    compared = invariants.compare_heads(cursor, recorded_heads(options["heads"]), rows_shown=rows_shown)
                    lines.append(self.tell(compared, is_json=options["json"]))
                    if not any(line["verdict"] == "FAILED" for line in lines):
                        record_heads(options["heads"], invariants.heads(cursor), at=at)
        if options["stripe"]:
            for verdict in agreement.verdicts(organization_id=organization_id, rows_shown=rows_shown):
                lines.append(self.tell(verdict, is_json=options["json"]))
        elif not options["json"]:
            for name in agreement.NAMES:
                self.stdout.write(f"skipped  {name} (--stripe asks Stripe)")
        violated = [line["invariant"] for line in lines if line["verdict"] == "FAILED"]
        seconds = round(time.monotonic() - began, 1)
        if options["json"]:
            document = {"at": at.isoformat(), "organization": slug, "violated": violated, "invariants": lines}
            self.stdout.write(json.dumps(document, indent=2))
        elif not violated:
            held = sum(line["verdict"] == "ok" for line in lines)
            self.stdout.write(f"{held} of {len(lines)} hold, none is violated ({seconds} s)")
        if violated:
            raise CommandError(f"{len(violated)} of {len(lines)} are violated: {', '.join(violated)} ({seconds} s)")

    def tell(self, verdict: Verdict, *, is_json: bool) -> dict[str, Any]:
        """Write one verdict as lines for people, and return it for machines."""
        word = word_for(verdict)
        if not is_json:
            count = "" if verdict.holds else f": {verdict.count} {'row' if verdict.count == 1 else 'rows'}"
            self.stdout.write(f"{word:<8} {verdict.name}{count}")
            for finding in verdict.findings:
                self.stdout.write(f"           {place_of(finding)}: {finding.detail}")
            if verdict.count > len(verdict.findings):
                self.stdout.write(f"           and {verdict.count - len(verdict.findings)} more")
        return {
            "invariant": verdict.name,
            "promise": verdict.promise,
            "verdict": word,
            "count": verdict.count,
            "rows": [
                {"organization": finding.organization, "row": finding.row, "detail": finding.detail}
                for finding in verdict.findings
            ],
        }


def recorded_heads(path: Path) -> Iterator[Head]:
    """The heads in a file, one JSON document a line; none where there is no file yet."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            document = json.loads(line)
            yield Head(document["organization_id"], document["seq"], document["hash"])


def record_heads(path: Path, heads: Iterable[Head], *, at: datetime) -> None:
    """Add heads to a file."""
    with path.open("a", encoding="utf-8") as lines:
        for head in heads:
            lines.write(json.dumps({"at": at.isoformat(), **asdict(head)}) + "\n")


def word_for(verdict: Verdict) -> str:
    """``ok``, ``FAILED`` or ``warning``."""
    if verdict.holds:
        return "ok"
    return "warning" if verdict.severity is Severity.WARNING else "FAILED"


def place_of(finding: Finding) -> str:
    """Organization and row, as people read them."""
    return f"{finding.organization} {finding.row}" if finding.organization else finding.row


def organization_named(slug: str | None) -> int | None:
    """The id of an organization, or ``None`` for all. Raises ``CommandError`` where there is none."""
    if slug is None:
        return None
    organization = Organization.objects.filter(slug=slug).first()
    if organization is None:
        raise CommandError(f"There is no organization {slug}.")
    return organization.pk


def now() -> datetime:
    """The time by the ledger's clock."""
    with connection.cursor() as cursor:
        cursor.execute("select credits_clock()")
        (at,) = cursor.fetchone()
    assert isinstance(at, datetime)
    return at


@contextmanager
def snapshot() -> Iterator[None]:
    """One REPEATABLE READ transaction that can't write: all queries see the same instant while others go on writing."""
    is_outermost = not connection.in_atomic_block
    with transaction.atomic():
        # A test's own transaction, which is the only one that may be open here, has its isolation already.
        if is_outermost:
            with connection.cursor() as cursor:
                cursor.execute("set transaction isolation level repeatable read, read only")
        yield
