"""Make the days of usage anew from charges and reversals, and prove that they were what they had to be."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import Organization
from billing.credits import usage_days


class Command(BaseCommand):
    help = (
        "Make the daily sums of usage anew from charges and reversals, one organization after the other. Prints how "
        "many days were other than they should have been. With --check nothing is changed, and the exit status is 1 "
        "when any differs."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", metavar="SLUG", help="the days of one organization only")
        parser.add_argument(
            "--check", action="store_true", help="only look: change nothing, exit with 1 if a day differs"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        examine = usage_days.count_wrong if options["check"] else usage_days.rebuild
        total = organizations = 0
        for organization_id, slug in self.chosen(options["organization"]):
            wrong = examine(organization_id=organization_id)
            organizations += 1
            total += wrong
            if wrong:
                self.stdout.write(f"{slug}: {_days(wrong)} {'differ' if options['check'] else 'differed, made anew'}")
        if options["check"] and total:
            raise CommandError(f"{_days(total)} of {organizations} organizations differ from their charges.")
        done = "agree with their charges" if options["check"] else f"were made anew, {total} of them had differed"
        self.stdout.write(f"The days of {organizations} organization{'s' if organizations != 1 else ''} {done}.")

    def chosen(self, slug: str | None) -> list[tuple[int, str]]:
        """Ids and slugs; each organization is then examined in a transaction of its own."""
        found = Organization.objects.order_by("pk")
        if slug is not None:
            found = found.filter(slug=slug)
            if not found:
                raise CommandError(f"There is no organization {slug}.")
        return list(found.values_list("pk", "slug"))


def _days(count: int) -> str:
    return f"{count} day{'s' if count != 1 else ''}"
