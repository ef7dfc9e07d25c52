"""`manage.py seed_demo`: prices, people, organizations and the service key of the demo. Idempotent."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from console.demo import seed


class Command(BaseCommand):
    """Seeds the demo; refuses to run anywhere else, since its password is public."""

    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        """Seed everything that is missing."""
        if not settings.DEMO_FOLDER:
            raise CommandError("DEMO_FOLDER isn't set: this isn't a demo, and the demo's password is public.")
        call_command("seed_prices", verbosity=0)
        seed.seed_people_and_organizations()
        seed.seed_service_key(Path(settings.DEMO_FOLDER) / "service-key")
