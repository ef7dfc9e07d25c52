#!/usr/bin/env python
"""Django's command line.

Commands that change the schema connect as the owner role (`MIGRATE_DATABASE_URL`); every other command, like web,
gate and workers, connects as the runtime role (`DATABASE_URL`), which owns nothing.
"""

import os
import sys

OWNER_COMMANDS = frozenset({"migrate", "createcachetable", "makemigrations", "sqlmigrate", "showmigrations"})


def main() -> None:
    """Run one management command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
    if len(sys.argv) > 1 and sys.argv[1] in OWNER_COMMANDS and os.environ.get("MIGRATE_DATABASE_URL"):
        os.environ["DATABASE_URL"] = os.environ["MIGRATE_DATABASE_URL"]
        os.environ["IS_OWNER_COMMAND"] = "true"

    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # The settings' refusals are sentences for people; where they were raised helps nobody.
        sys.exit(f"manage.py: {error}")


if __name__ == "__main__":
    main()
