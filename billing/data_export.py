"""All data of an organization as one ZIP: a table for each kind of thing, made while it is sent, whatever its size.

Nothing is stored on the way and no table is ever held whole, so a large organization costs time and no memory. Secrets
of keys and links, what staff noted for themselves, and ids at the payment processor are not among it.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from django.db.models import QuerySet

from accounts import csv_files
from accounts.models import ApiKey, AuditEvent, Invitation, Membership, Organization
from billing.credits import statements
from billing.models import (
    AutoReloadConsent,
    BillingContact,
    BillingDetails,
    CreditLot,
    CreditNote,
    Dispute,
    LedgerEntry,
    PaymentMethod,
    Purchase,
    Receipt,
    Refund,
    UsageDay,
)
from billing.money import exact_usd

ROWS_AT_ONCE: Final = 1_000
PART_LENGTH: Final = 64 * 1024
ABOUT: Final = """All data of {name} ({slug}), as of {at} UTC.

Tables are CSV in UTF-8 with one line of headings. Times are UTC. *_cents are cents of a US dollar, *_nano are
billionths of one, *_usd are exact dollars. A cell that a spreadsheet could take for a formula begins with an
apostrophe. Receipts and credit notes are here as rows; their PDFs are on the page of receipts.
"""


@dataclass(frozen=True, slots=True)
class Table:
    """One file: the columns of some rows. A column may follow relations, as in ``user__email``."""

    name: str
    rows: QuerySet[Any]
    columns: Sequence[str]


def parts(*, organization: Organization, at: datetime) -> Iterator[bytes]:
    """The ZIP in parts of about 64 KB, each made when it is asked for."""
    buffer = _Buffer()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, lines in _files(organization, at=at):
            entry = zipfile.ZipInfo(name, date_time=at.astimezone(UTC).timetuple()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                for line in lines:
                    file.write(line.encode())
                    if len(buffer) >= PART_LENGTH:
                        yield buffer.take()
    yield buffer.take()


def _files(organization: Organization, *, at: datetime) -> Iterator[tuple[str, Iterable[str]]]:
    yield "README.txt", [ABOUT.format(name=organization.name, slug=organization.slug, at=f"{at.astimezone(UTC):%F %T}")]
    yield "settings.json", [json.dumps(_settings(organization), indent=2, ensure_ascii=False)]
    for table in _tables(organization):
        yield f"{table.name}.csv", csv_files.lines(headings=table.columns, rows=_rows(table))
    yield "ledger.csv", csv_files.lines(headings=_LEDGER, rows=_entries(organization))


def _settings(organization: Organization) -> dict[str, Any]:
    details = BillingDetails.objects.filter(organization=organization).values(
        "legal_name",
        "address_line1",
        "address_line2",
        "postal_code",
        "city",
        "region",
        "country",
        "tax_id",
        "reference",
    )
    return {
        "name": organization.name,
        "slug": organization.slug,
        "time_zone": organization.time_zone,
        "created_at": _text(organization.created_at),
        "closed_at": _text(organization.closed_at),
        "billing_details": details.first(),
    }


_DOCUMENT: Final = (
    "number", "issued_at", "seller_name", "seller_address", "seller_tax_id", "buyer_name", "buyer_address",
    "buyer_tax_id", "reference", "net_cents", "tax_text", "tax_cents", "total_cents",
)  # fmt: skip
_LEDGER: Final = (
    "entry", "kind", "what", "booked_at", "counts_from", "lot", "purchase", "model", "surface", "key", "label",
    "amount_usd", "balance_after_usd",
)  # fmt: skip


def _tables(organization: Organization) -> Iterator[Table]:
    """Every table but the ledger, which is the longest and has a reader of its own."""

    def of(model: Any) -> QuerySet[Any]:
        rows: QuerySet[Any] = model.objects.filter(organization=organization).order_by("pk")
        return rows

    yield Table("members", of(Membership), ("user__email", "user__name", "role", "created_at"))
    yield Table(
        "invitations", of(Invitation), ("email", "role", "created_at", "expires_at", "accepted_at", "revoked_at")
    )
    yield Table(
        "api_keys",
        of(ApiKey),
        ("name", "prefix", "surface", "created_by__email", "created_at", "expires_at", "last_used_at", "revoked_at"),
    )
    yield Table("billing_contacts", of(BillingContact), ("name", "email", "created_at", "confirmed_at"))
    yield Table("cards", of(PaymentMethod), ("id", "brand", "last4", "exp_month", "exp_year", "added_at", "removed_at"))
    yield Table(
        "purchases",
        of(Purchase),
        (
            "id", "kind", "state", "amount_cents", "credit_nano", "payment_method_id", "actor__email", "terms_version",
            "terms_accepted_at", "reference", "created_at", "settled_at",
        ),
    )  # fmt: skip
    yield Table(
        "receipts",
        of(Receipt),
        (*_DOCUMENT, "purchase_id", "card_brand", "card_last4", "credit_nano", "debt_paid_nano", "expires_at"),
    )
    yield Table("credit_notes", of(CreditNote), (*_DOCUMENT, "receipt__number", "cause_kind"))
    yield Table("refunds", of(Refund), ("id", "purchase_id", "state", "amount_cents", "created_at", "settled_at"))
    yield Table("disputes", of(Dispute), ("id", "purchase_id", "status", "amount_cents", "opened_at", "closed_at"))
    yield Table(
        "lots",
        of(CreditLot),
        ("id", "kind", "label", "granted_nano", "remaining_nano", "effective_at", "expires_at", "purchase_id"),
    )
    yield Table(
        "auto_reload",
        of(AutoReloadConsent),
        (
            "actor__email", "kind", "is_enabled", "minimum_cents", "target_cents", "monthly_cap_cents",
            "consent_version", "consent_text", "consented_at",
        ),
    )  # fmt: skip
    yield Table(
        "usage_by_day",
        of(UsageDay),
        (
            "day", "surface", "priced_model__slug", "key_ref", "requests", "amount_nano", "reversed_nano",
            "input_units", "output_units", "cache_write_units", "cache_read_units", "other_units",
        ),
    )  # fmt: skip
    yield Table(
        "audit_log",
        of(AuditEvent),
        ("id", "at", "actor__email", "role", "action", "target", "before", "after", "request_id"),
    )


def _rows(table: Table) -> Iterator[list[str]]:
    for row in table.rows.values_list(*table.columns).iterator(chunk_size=ROWS_AT_ONCE):
        yield [_text(value) for value in row]


def _entries(organization: Organization) -> Iterator[list[str]]:
    last = LedgerEntry.objects.filter(organization=organization).order_by("-seq").values_list("seq", flat=True).first()
    for line in statements.entries(organization_id=organization.pk, after_seq=0, last_seq=last or 0):
        yield [
            str(line.seq),
            line.kind,
            line.words,
            _text(line.booked_at),
            _text(line.value_at),
            _text(line.lot_id),
            _text(line.purchase_id),
            _text(line.model_name),
            _text(line.surface),
            _text(line.key_ref),
            _text(line.label),
            exact_usd(line.amount_nano),
            exact_usd(line.balance_after_nano),
        ]


def _text(value: Any) -> str:
    """A cell: numbers as numbers, times in UTC, everything that somebody typed kept from being a formula."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return str(value)
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case dict() | list():
            return csv_files.plain_text(json.dumps(value, ensure_ascii=False))
    return csv_files.plain_text(str(value))


class _Buffer(io.RawIOBase):
    """What the archive writes, until it is taken. The archive can't go back in it, so it never has to be kept."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def __len__(self) -> int:
        return len(self._waiting)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting += data
        return len(data)

    def take(self) -> bytes:
        """Everything written since the last time."""
        taken = bytes(self._waiting)
        self._waiting.clear()
        return taken
