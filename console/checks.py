"""What must hold of the database before the console serves anyone; console.access_table checks the routes."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections


@checks.register(checks.Tags.database)
def runtime_role_owns_nothing(*, databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """console.E001: the database role could rewrite history. Commands that migrate are the owner's and are left out."""
    if settings.IS_OWNER_COMMAND:
        return []
    return [checks.Error(text, id="console.E001") for alias in databases or [] for text in excess_rights(alias)]


@checks.register(deploy=True)
def receipts_name_the_seller(**_: Any) -> list[checks.CheckMessage]:
    """console.W020, for `check --deploy`: receipts would not say who sells, for good."""
    wanted = {"SELLER_NAME": settings.SELLER_NAME, "SELLER_ADDRESS": settings.SELLER_ADDRESS}
    missing = [name for name, value in wanted.items() if not value]
    if not missing:
        return []
    text = f"{' and '.join(missing)}: not set, so receipts don't say who sells. What is issued can't be changed later."
    return [checks.Warning(text, hint="See .env.example.", id="console.W020")]


def excess_rights(alias: str = "default") -> list[str]:
    """What the current role may do that a runtime role may not; empty is good."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            """
            SELECT r.rolsuper,
                   r.rolsuper OR pg_has_role(current_user, d.datdba, 'MEMBER'),
                   r.rolsuper OR EXISTS (
                       SELECT 1 FROM pg_class c
                       WHERE c.relnamespace = 'public'::regnamespace
                         AND pg_has_role(current_user, c.relowner, 'MEMBER')
                   ),
                   r.rolreplication OR r.rolbypassrls OR r.rolcreaterole
            FROM pg_roles r, pg_database d
            WHERE r.rolname = current_user AND d.datname = current_database()
            """
        )
        is_superuser, owns_database, owns_tables, is_powerful = cursor.fetchone()
        cursor.execute("SELECT current_user")
        (role,) = cursor.fetchone()
    if is_superuser:
        found = [f"{role} is a superuser of the database"]
    else:
        found = [f"{role} owns the database"] if owns_database else []
        found += [f"{role} owns tables"] if owns_tables else []
        found += [f"{role} has rights over other roles"] if is_powerful else []
    return [
        f"{text}. Run as a role that owns nothing (DATABASE_URL); only migrate runs as the owner." for text in found
    ]


def refuse_excess_rights() -> None:
    """Stop a process that serves from starting with rights over the ledger. Errors: ImproperlyConfigured."""
    if found := excess_rights():
        raise ImproperlyConfigured(" ".join(found))
    connections.close_all()
