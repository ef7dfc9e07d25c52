from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from billing.credits import prices

# Reported usage may be 35 days old; it has a price from the first day.
FIRST_EFFECTIVE = timedelta(days=36)


class Command(BaseCommand):
    help = "Publishes the shipped price list for models that have no price yet. A second run changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        versions = prices.seed(effective_at=timezone.now() - FIRST_EFFECTIVE)
        for version in versions:
            self.stdout.write(f"Published prices of {version.priced_model.name}.")
        if not versions:
            self.stdout.write("Every model has a price already.")
