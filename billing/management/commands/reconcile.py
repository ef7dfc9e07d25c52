"""Compare payments, refunds and disputes with Stripe since a day, and repair what one of our own use cases can."""

from argparse import ArgumentParser
from datetime import UTC, datetime, time
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date

from billing.errors import PaymentProcessorUnavailable
from billing.payments import reconciliation


class Command(BaseCommand):
    help = (
        "Look at every payment, refund, dispute and early fraud warning since a day (UTC). Repairs what was paid and "
        "not granted, and what came back without being heard of. Exit status 1: something is left for people."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--since", metavar="YYYY-MM-DD", required=True, help="the first day to look at, in UTC")

    def handle(self, *args: Any, **options: Any) -> None:
        since = day(options["since"])
        try:
            report = reconciliation.reconcile(since=since, at=timezone.now())
        except PaymentProcessorUnavailable as error:
            raise CommandError(f"Stripe could not be asked: {error}") from error
        counts = ", ".join(f"{count} {kind}" for kind, count in report.looked_at.items())
        self.stdout.write(f"Looked at {counts} since {since:%Y-%m-%d} (UTC).")
        for line in report.repaired:
            self.stdout.write(f"repaired  {line}")
        for line in report.left:
            self.stdout.write(f"left      {line}")
        if report.left:
            raise CommandError(f"{len(report.repaired)} repaired, {len(report.left)} left for people.")
        self.stdout.write(f"{len(report.repaired)} repaired, nothing is left.")


def day(text: str) -> datetime:
    """The beginning of a day in UTC. Raises ``CommandError`` for what is no day, or not in the past."""
    try:
        parsed = parse_date(text)
    except ValueError:
        parsed = None
    if parsed is None:
        raise CommandError(f"{text} is no day. Write it like 2026-01-01.")
    since = datetime.combine(parsed, time.min, tzinfo=UTC)
    if since > timezone.now():
        raise CommandError(f"{text} is yet to come.")
    return since
