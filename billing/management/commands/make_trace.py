"""Makes a trace of usage for tests and the demo."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.management import traces

ROWS_MAX = 10_000_000


class Command(BaseCommand):
    """See ``help``."""

    help = "Writes a made trace of usage, TIMESTAMP,ContextTokens,GeneratedTokens: the same rows for the same seed."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Read rows, seed and where to write."""
        parser.add_argument("--rows", type=int, required=True, help="how many requests")
        parser.add_argument("--seed", type=int, default=1, help="which trace (default 1)")
        parser.add_argument("--out", type=Path, help="the file (default: standard output)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the lines."""
        if not 0 <= options["rows"] <= ROWS_MAX:
            raise CommandError(f"--rows is from 0 to {ROWS_MAX}.")
        lines = traces.make(rows=options["rows"], seed=options["seed"])
        if options["out"] is None:
            for line in lines:
                self.stdout.write(line, ending="")
            return
        try:
            with options["out"].open("w", encoding="ascii", newline="") as file:
                file.writelines(lines)
        except OSError as error:
            raise CommandError(f"{options['out']} can't be written: {error}") from error
