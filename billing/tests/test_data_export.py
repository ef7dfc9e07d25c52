"""The download of all data: whole, own, without secrets or formulas, in parts, for Admins, kept in history."""

import csv
import hashlib
import io
import json
import zipfile

import pytest
from django.test import Client
from django.utils import timezone

from accounts import closing
from accounts.models import ApiKey, AuditEvent, Membership, Organization
from accounts.permissions import Role
from accounts.tests import cast
from billing import data_export
from billing.models import BillingContact, LedgerEntry
from billing.views.data_export import DOWNLOADS_AN_HOUR

pytestmark = pytest.mark.django_db(transaction=True)

TABLES = {
    "members", "invitations", "api_keys", "billing_contacts", "cards", "purchases", "receipts", "credit_notes",
    "refunds", "disputes", "lots", "auto_reload", "usage_by_day", "audit_log", "ledger",
}  # fmt: skip


def url(buyer) -> str:
    return f"/o/{buyer.organization.slug}/settings/organization/export/"


def client_of(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def archive_of(response) -> zipfile.ZipFile:
    assert response.status_code == 200
    archive = zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content)))
    assert archive.testzip() is None
    return archive


def rows_of(archive, table) -> list[dict[str, str]]:
    text = archive.read(f"{table}.csv").decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def test_an_admin_gets_everything_of_the_organization_and_nothing_of_another(buyer):
    buyer.save_card()
    buyer.buy(2_500)
    other = cast.member(cast.organization("Other"), role=Role.ADMIN).user
    archive = archive_of(client_of(buyer.admin).post(url(buyer)))
    assert {name.removesuffix(".csv") for name in archive.namelist()} == TABLES | {"README.txt", "settings.json"}
    assert {row["user__email"] for row in rows_of(archive, "members")} == set(
        Membership.objects.filter(organization=buyer.organization).values_list("user__email", flat=True)
    )
    assert [row["amount_cents"] for row in rows_of(archive, "purchases")] == ["2500"]
    assert [row["total_cents"] for row in rows_of(archive, "receipts")] == ["2500"]
    assert len(rows_of(archive, "ledger")) == LedgerEntry.objects.filter(organization=buyer.organization).count()
    assert rows_of(archive, "ledger")[0]["amount_usd"].startswith("25")
    assert json.loads(archive.read("settings.json"))["slug"] == buyer.organization.slug
    everything = b"".join(archive.read(name) for name in archive.namelist())
    assert other.email.encode() not in everything


def test_no_secret_and_no_digest_of_one_is_among_it(buyer):
    ApiKey.objects.create(
        organization=buyer.organization, name="CI", prefix="ck_live_abcd1234", key_sha256="f" * 64, surface="api",
        created_by=buyer.admin,
    )  # fmt: skip
    BillingContact.objects.create(
        organization=buyer.organization, name="x", email="x@acme.example", token_sha256="e" * 64,
        token_expires_at=timezone.now(),
    )  # fmt: skip
    archive = archive_of(client_of(buyer.admin).post(url(buyer)))
    assert rows_of(archive, "api_keys")[0]["prefix"] == "ck_live_abcd1234"
    everything = b"".join(archive.read(name) for name in archive.namelist())
    assert b"f" * 64 not in everything
    assert b"e" * 64 not in everything
    names = {column for table in data_export._tables(buyer.organization) for column in table.columns}
    assert not [name for name in names if "sha256" in name or "token" in name or "secret" in name or "stripe" in name]


@pytest.mark.parametrize("name", ["=1+1", " +cmd", "@SUM(A1)", "\uff1dx", "-2"])
def test_nothing_that_somebody_typed_is_a_formula(buyer, name):
    BillingContact.objects.create(
        organization=buyer.organization, name=name, email="x@acme.example", confirmed_at=timezone.now()
    )
    archive = archive_of(client_of(buyer.admin).post(url(buyer)))
    assert rows_of(archive, "billing_contacts")[0]["name"] == f"'{name}"


def test_nobody_else_gets_it_and_each_download_is_kept_in_history(buyer):
    assert client_of(buyer.billing).post(url(buyer)).status_code == 403
    assert client_of(cast.person()).post(url(buyer)).status_code == 404
    assert client_of(buyer.admin).get(url(buyer)).status_code == 405
    client = client_of(buyer.admin)
    archive_of(client.post(url(buyer)))
    (event,) = AuditEvent.objects.filter(action="export.downloaded")
    assert (event.actor, event.organization) == (buyer.admin, buyer.organization)
    answers = [client.post(url(buyer)).status_code for _ in range(DOWNLOADS_AN_HOUR)]
    assert answers == [200] * (DOWNLOADS_AN_HOUR - 1) + [302]


def test_it_is_still_there_when_the_organization_is_closed(buyer):
    closing.close(organization=buyer.organization, actor=buyer.admin, at=buyer.now())
    client = client_of(buyer.admin)
    assert b"Download all data" in client.get(f"/o/{buyer.organization.slug}/").content
    archive = archive_of(client.post(url(buyer)))
    assert json.loads(archive.read("settings.json"))["closed_at"]


def test_a_long_table_is_sent_in_parts_and_never_held_whole(buyer):
    AuditEvent.objects.bulk_create(
        AuditEvent(
            organization=buyer.organization,
            action="organization.changed",
            after={"text": hashlib.sha512(str(n).encode()).hexdigest()},
        )
        for n in range(6_000)
    )
    organization = Organization.objects.get(pk=buyer.organization.pk)
    lengths = [len(part) for part in data_export.parts(organization=organization, at=timezone.now())]
    assert len(lengths) > 3
    assert max(lengths) < 3 * data_export.PART_LENGTH
