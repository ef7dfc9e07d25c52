"""The console app: the last in INSTALLED_APPS, so its post-migrate work sees the tables of every other app."""

from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.contrib.auth.signals import user_logged_out
from django.core.management import call_command
from django.db import connections
from django.db.models.signals import post_migrate

GRANTS = Path(__file__).with_name("grants.sql")


class ConsoleConfig(AppConfig):
    """Grants the runtime role its rights after every `migrate`."""

    name = "console"

    def ready(self) -> None:
        """Register the checks, and connect the post-migrate work.

        Django sends no signal for an app without models, so the sender is billing, the last app that has some.
        """
        from console import access_table, checks, middleware  # noqa: F401  (importing registers the checks)

        user_logged_out.connect(middleware.note_sign_out)
        post_migrate.connect(grant_runtime_rights, sender=apps.get_app_config("billing"))


def grant_runtime_rights(*, using: str, **_: Any) -> None:
    """Create the cache table, then apply grants.sql: what the role console_app may do, and what it may not.

    Nothing is granted where the role is missing or where it is itself the one that migrates; the system check
    `console.E001` refuses to serve from such a database.
    """
    connection = connections[using]
    call_command("createcachetable", database=using, verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = 'console_app' AND rolname <> current_user")
        if cursor.fetchone():
            cursor.execute(GRANTS.read_text())
