"""Writes the price list for programs that compute costs by themselves."""

import json
from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from billing.credits import prices


class Command(BaseCommand):
    """See ``help``."""

    help = "Writes the prices in force as JSON: model, token class, nano-USD for a million units."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Read where to write and for which instant."""
        parser.add_argument("--out", type=Path, help="the file (default: standard output)")
        parser.add_argument("--at", help="the instant, as 2026-01-31T12:00:00Z (default: now)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Read the versions in force at the instant and write their prices."""
        at = instant(options["at"]) if options["at"] else timezone.now()
        listed = {model.slug: dict(sorted(model.prices_nano_per_million.items())) for model in prices.in_force(at=at)}
        text = json.dumps(listed, indent=2) + "\n"
        if options["out"] is None:
            self.stdout.write(text, ending="")
            return
        try:
            options["out"].write_text(text, encoding="ascii")
        except OSError as error:
            raise CommandError(f"{options['out']} can't be written: {error}") from error


def instant(text: str) -> datetime:
    """An instant with its zone. Raises CommandError."""
    try:
        at = parse_datetime(text)
    except ValueError:
        at = None
    if at is None or timezone.is_naive(at):
        raise CommandError("--at is written as 2026-01-31T12:00:00Z, with its zone.")
    return at
