"""Migrations can be taken back and applied again, on a database of their own."""

from urllib.parse import urlsplit

import psycopg
from django.core.management import call_command
from django.db import connection, connections

DATABASE = "test_migrations"


def test_the_functions_of_the_ledger_can_be_taken_back_and_installed_again(
    django_db_setup, django_db_blocker, role_address
):
    server_address = urlsplit(role_address("superuser"))._replace(path="/postgres").geturl()
    with django_db_blocker.unblock(), psycopg.connect(server_address, autocommit=True) as server:
        original = {name: connection.settings_dict[name] for name in ("NAME", "USER")}
        connections.close_all()
        server.execute(f"drop database if exists {DATABASE} with (force)")
        server.execute(f"create database {DATABASE} template {original['NAME']} owner console_owner")
        connection.settings_dict.update(NAME=DATABASE, USER="console_owner")
        try:
            before = functions()
            call_command("migrate", "billing", "0003", verbosity=0, interactive=False)
            assert functions() == []
            call_command("migrate", "billing", verbosity=0, interactive=False)
            assert functions() == before
        finally:
            connections.close_all()
            connection.settings_dict.update(original)
            server.execute(f"drop database if exists {DATABASE} with (force)")


def functions():
    """Every function of the ledger, with its arguments."""
    with connection.cursor() as cursor:
        cursor.execute("select oid::regprocedure::text from pg_proc where proname like 'credits\\_%' order by 1")
        return [name for (name,) in cursor.fetchall()]
