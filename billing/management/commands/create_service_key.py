"""Makes a service key for the platform's gateway."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import service_keys
from accounts.models import Scope


class Command(BaseCommand):
    """See ``help``."""

    help = "Makes a service key for the platform's gateway and prints it. It is never shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Read what the key is for, and what it may do."""
        parser.add_argument("--name", required=True, help="where it is used, as staff will read it")
        parser.add_argument(
            "--scope",
            action="append",
            choices=Scope.values,
            help="what the key may do; may be given several times; without it, everything",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the key; it alone stands on standard output."""
        if not 1 <= len(options["name"].strip()) <= 80:
            raise CommandError("The name has 1 to 80 characters.")
        scopes = [Scope(scope) for scope in options["scope"] or Scope.values]
        self.stdout.write(service_keys.issue(name=options["name"], scopes=scopes, actor=None).key_text)
