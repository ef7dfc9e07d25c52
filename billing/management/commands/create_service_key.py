"""Makes a service key for the platform's gateway."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import service_keys


class Command(BaseCommand):
    """See ``help``."""

    help = "Makes a service key for the platform's gateway and prints it. It is never shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Read what the key is for."""
        parser.add_argument("--name", required=True, help="where it is used, as staff will read it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the key; it alone stands on standard output."""
        if not 1 <= len(options["name"].strip()) <= 80:
            raise CommandError("The name has 1 to 80 characters.")
        self.stdout.write(service_keys.issue(name=options["name"], actor=None).key_text)
