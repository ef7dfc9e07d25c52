"""The audit log: in words, for Admins, complete under every filter, and as quick with a hundred thousand events."""

import csv
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts import audit, audit_log, audit_words
from accounts.audit_actions import ACTIONS, Group
from accounts.audit_log import Filters
from accounts.models import AuditEvent, AuditOrigin, Membership, Organization, Role, User
from accounts.tests import cast

pytestmark = pytest.mark.django_db


class Log:
    """An organization with an Admin in front of the page, and others of whom there is something to tell."""

    def __init__(self) -> None:
        self.organization = cast.organization("Acme", time_zone="Asia/Kathmandu")
        self.admin = cast.member(self.organization, role=Role.ADMIN, name="Ada Admin").user
        self.member = cast.member(self.organization, role=Role.BILLING, name="Bela Billing").user
        self.staff = cast.person("sam@platform.test", name="Sam Staff", is_staff=True)
        self.client = Client()
        self.client.force_login(self.admin)

    def add(self, action: str = "billing_details.changed", *, by: User | None = None, **values: Any) -> AuditEvent:
        return audit.record(organization=self.organization, actor=by, action=action, **values)

    def page(self, **parameters: str) -> str:
        response = self.client.get(reverse("audit_log", args=["acme"]), parameters)
        assert response.status_code == 200
        return response.content.decode()

    def file(self, **parameters: str) -> list[dict[str, str]]:
        response = self.client.post(reverse("audit_log_csv", args=["acme"]), parameters)
        assert response.status_code == 200
        text = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
        return list(csv.DictReader(StringIO(text, newline="")))

    def found(self, *, limit: int = 100, **filters: Any) -> list[int]:
        page = audit_log.page(organization=self.organization, filters=Filters(**filters), before_id=None, limit=limit)
        return [entry.id for entry in page.entries]


@pytest.fixture
def log() -> Log:
    return Log()


def words(event: AuditEvent, organization: Organization) -> audit_words.Entry:
    return audit_words.entry(event, people=audit_words.people_in([event]), zone=organization.zone)


# --- In words --------------------------------------------------------------------------------------------------------


def test_an_event_tells_who_did_what_to_whom_as_what_and_what_became_of_it(log):
    membership = Membership.objects.get(user=log.member)
    event = log.add(
        "membership.role_changed",
        by=log.admin,
        target=f"membership:{membership.pk}",
        before={"user": log.member.pk, "role": "billing"},
        after={"user": log.member.pk, "role": "claude_code_user"},
    )
    entry = words(event, log.organization)
    assert entry.sentence == "Ada Admin changed the role of Bela Billing"
    assert entry.role == "Admin"
    assert [change.text for change in entry.changes] == ["role: Billing → Claude Code User"]


def test_names_are_those_of_now_and_a_deleted_person_is_a_number(log):
    event = log.add(by=log.member)
    log.member.name = "Bela Married"
    log.member.save()
    assert words(event, log.organization).who == "Bela Married"
    number = log.member.pk
    Membership.objects.filter(user=log.member).delete()
    User.objects.filter(pk=number).delete()
    assert words(event, log.organization).who == f"Deleted person {number}"


def test_staff_are_told_as_staff_without_name_address_or_reason(log):
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.9", headers={"User-Agent": "Staff browser"})
    log.add(
        "credit_account.frozen",
        by=log.staff,
        before={"state": "open"},
        after={"state": "frozen", "reason": "Suspicious: see ticket 7"},
        request=request,
    )
    page = log.page()
    assert "<strong>Platform staff</strong> stopped all usage of the organization" in page
    assert "state: open" in page
    for secret in ("Sam", "192.0.2.9", "Staff browser", "ticket 7"):
        assert secret not in page
        assert secret not in repr(log.file())


def test_staff_who_are_members_act_as_members(log):
    cast.member(log.organization, role=Role.ADMIN, user=log.staff)
    assert words(log.add(by=log.staff), log.organization).who == "Sam Staff"


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ({"is_enabled": True}, ["on: yes"]),
        ({"minimum_cents": 1_050}, ["minimum: $10.50"]),
        ({"amount_nano": 1_500_000_001}, ["amount: $1.500000001"]),
        ({"expires_at": "2026-12-11T12:00:00+00:00"}, ["expires: 11 Dec 2026, 17:45 +0545 (12:00 UTC)"]),
        ({"expires_at": "soon"}, ["expires: soon"]),
        ({"until": "2026-12-11T12:00:00"}, ["until: 2026-12-11T12:00:00"]),
        ({"changed": ["city", "tax_id"]}, ["changed: city, tax_id"]),
        ({"reference": "", "failure_code": None}, []),
        ({"role": "no such role"}, ["role: no such role"]),
        ({"permission": "credits.buy"}, ["permission: buy credits"]),
        ({"permission": "gone.permission"}, ["permission: gone.permission"]),
        ({"note": "x" * 400}, ["note: " + "x" * 299 + "…"]),
        ({"limits": {"daily_cents": 100}}, ["limits: daily: $1.00"]),
    ],
)
def test_values_read_as_people_write_them(log, values, texts):
    event = log.add(after=values)
    assert [change.text for change in words(event, log.organization).changes] == texts


def test_what_was_emptied_is_told_and_what_the_sentence_says_is_not_repeated(log):
    emptied = log.add(before={"reference": "PO 7"}, after={"reference": ""})
    assert [change.text for change in words(emptied, log.organization).changes] == ["reference: PO 7 → none"]
    refused = log.add(
        "access.refused", by=log.member, after={"permission": "credits.buy", "role": "billing", "method": "GET"}
    )
    assert [change.text for change in words(refused, log.organization).changes] == ["method: GET"]


def test_what_stayed_the_same_is_not_a_change(log):
    event = log.add(
        before={"name": "A", "time_zone": "UTC", "old": 1}, after={"name": "B", "time_zone": "UTC", "new": 2}
    )
    assert [change.text for change in words(event, log.organization).changes] == ["name: A → B", "old: 1", "new: 2"]


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_can_be_told(log, action):
    for target in ("", "user:999", "purchase:12", "membership:x"):
        entry = words(AuditEvent(at=datetime.now(UTC), action=action, target=target), log.organization)
        assert entry.sentence.startswith("The platform ")
        assert "{" not in entry.sentence


def test_an_action_of_a_former_version_is_still_told(log):
    event = AuditEvent(at=datetime.now(UTC), action="thing.changed", target="thing:1")
    assert words(event, log.organization).words == "thing.changed thing 1"


def test_the_page_shows_time_in_both_zones_origin_and_reference(log):
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7", headers={"User-Agent": "Browser/1 <b>"})
    request.request_id = "req_abc"  # type: ignore[attr-defined]
    log.add("access.refused", by=log.member, after={"permission": "members.manage"}, request=request)
    page = log.page()
    assert "<strong>Bela Billing</strong> was not allowed to manage members and roles" in page
    for text in ("UTC+05:45", "192.0.2.7", "Browser/1 &lt;b&gt;", "req_abc", "access.refused"):
        assert text in page
    assert "Browser/1 <b>" not in page


def test_an_origin_that_was_erased_is_missed_by_nothing(log):
    event = log.add(by=log.member, request=RequestFactory().get("/", REMOTE_ADDR="192.0.2.7"))
    AuditOrigin.objects.filter(event=event).delete()
    page = log.page()
    assert "192.0.2.7" not in page
    assert "not noted" in page


# --- Who sees what ---------------------------------------------------------------------------------------------------


def test_nothing_of_another_organization_nor_of_none_is_shown(log):
    other = cast.organization("Other")
    stranger = cast.member(other, role=Role.ADMIN, name="Stella Stranger").user
    audit.record(organization=other, actor=stranger, action="organization.changed")
    audit.record(organization=None, actor=log.admin, action="session.signed_in", target=f"user:{log.admin.pk}")
    event = log.add(by=log.admin)
    assert log.found() == [event.pk]
    assert "Stella" not in log.page()
    foreign = AuditEvent.objects.get(organization=other)
    # Another organization's event is no place to begin below, and its targets and references find nothing.
    assert log.page(before=str(foreign.pk)).count("<summary>") == log.page(before="999999").count("<summary>")


def test_the_page_of_a_fresh_organization_says_what_it_will_tell(log):
    assert "Nothing has happened yet" in log.page()


# --- Filters ---------------------------------------------------------------------------------------------------------


def test_each_filter_finds_its_own(log):
    request = RequestFactory().get("/")
    request.request_id = "req_42"  # type: ignore[attr-defined]
    former = cast.person(name="Fay Former")
    by_admin = log.add(by=log.admin)
    by_member = log.add("card.added", by=log.member, target="payment_method:7", request=request)
    by_former = log.add("auto_reload.saved", by=former)
    by_machine = log.add("auto_reload.attempted", target="purchase:12")
    by_staff = log.add("refund.created", by=log.staff, target="refund:3")
    every = [by_staff.pk, by_machine.pk, by_former.pk, by_member.pk, by_admin.pk]
    assert log.found() == every
    assert log.found(who=str(log.admin.pk)) == [by_admin.pk]
    assert log.found(who=str(former.pk)) == [by_former.pk]
    assert log.found(who=str(log.staff.pk)) == []
    assert log.found(who="staff") == [by_staff.pk]
    assert log.found(who="system") == [by_machine.pk]
    assert log.found(group=Group.AUTO_RELOAD) == [by_machine.pk, by_former.pk]
    assert log.found(group=Group.AUTO_RELOAD, who="system") == [by_machine.pk]
    assert log.found(about="Purchase #12") == log.found(about="purchase:12") == [by_machine.pk]
    assert log.found(about="payment method 7") == [by_member.pk]
    assert log.found(about="req_42") == [by_member.pk]
    assert log.found(about="purchase 1") == log.found(about="req_") == log.found(about="nothing") == []
    form = log.page()
    for option in ("Ada Admin</option>", "Fay Former (no member)</option>", "Platform staff</option>"):
        assert option in form
    assert "Sam" not in form
    everywhere = log.page(who=str(log.member.pk), what="card", about="payment method 7")
    assert "added a payment method" in everywhere
    assert "Events that match" in everywhere


def at(log: Log, moment: datetime) -> AuditEvent:
    return AuditEvent.objects.create(organization=log.organization, action="organization.changed", at=moment)


def test_days_are_the_organizations_and_the_last_one_counts_to_its_end(log):
    # In Kathmandu 26 November lasts from 18:15 UTC of the day before.
    late = at(log, datetime(2025, 11, 26, 18, 14, 59, tzinfo=UTC))
    early = at(log, datetime(2025, 11, 25, 18, 15, tzinfo=UTC))
    at(log, datetime(2025, 11, 26, 18, 15, tzinfo=UTC))
    at(log, datetime(2025, 11, 25, 18, 14, 59, tzinfo=UTC))
    rows = log.file(since="2025-11-26", until="2025-11-26")
    assert [int(row["event"]) for row in rows] == [late.pk, early.pk]


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"who": "999999"}, "Choose one of the list."),
        ({"who": "1 OR 1=1"}, "Choose one of the list."),
        ({"what": "platform"}, "Choose one of the list."),
        ({"since": "yesterday"}, "Choose a date."),
        ({"since": "0001-01-01"}, "Choose a date."),
        ({"until": "9999-12-31"}, "Choose a date."),
        ({"since": "2026-11-02", "until": "2026-11-01"}, "not before the first one"),
        ({"about": "a\x00b"}, "Null characters are not allowed."),
        ({"about": "x" * 121}, "at most 120 characters"),
    ],
)
def test_a_filter_that_is_not_understood_says_what_it_needs(log, parameters, error):
    log.add(by=log.admin)
    for response in (
        log.client.get(reverse("audit_log", args=["acme"]), parameters),
        log.client.post(reverse("audit_log_csv", args=["acme"]), parameters),
    ):
        assert response.status_code == 422
        assert error in response.content.decode()
        assert "Details" not in response.content.decode()
    assert not AuditEvent.objects.filter(action="audit_log.downloaded").exists()


@pytest.mark.parametrize("before", ["-1", "0", "x", "9" * 40, "", "1;", "٣"])
def test_a_place_that_is_none_shows_the_newest(log, before):
    event = log.add(by=log.admin)
    assert f"event {event.pk}" in log.page(before=before)


def test_pages_follow_each_other_without_gap_or_repetition(log):
    moment = datetime(2025, 11, 26, 12, tzinfo=UTC)
    made = [at(log, moment + timedelta(seconds=number // 7)).pk for number in range(40)]
    seen: list[int] = []
    before_id = None
    while True:
        page = audit_log.page(organization=log.organization, filters=Filters(), before_id=before_id, limit=6)
        seen += [entry.id for entry in page.entries]
        before_id = page.older_id
        if before_id is None:
            break
    assert seen == made[::-1]


def test_the_page_leads_to_older_events_and_keeps_the_filters(log):
    for _ in range(51):
        log.add(by=log.admin)
    first = log.page(who=str(log.admin.pk))
    assert first.count("<summary>") == 50
    oldest_shown = AuditEvent.objects.order_by("-id")[49]
    assert f"?who={log.admin.pk}&amp;before={oldest_shown.pk}#events" in first
    second = log.page(who=str(log.admin.pk), before=str(oldest_shown.pk))
    assert "Newest events" in second
    assert "Older events" not in second


# --- The file --------------------------------------------------------------------------------------------------------


def test_the_file_has_what_the_page_shows_and_its_download_is_told(log):
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7", headers={"User-Agent": "=cmd|' /C calc'!A0"})
    log.member.name = "@SUM(A1)"
    log.member.save()
    log.add("card.added", by=log.member, target="payment_method:7", after={"amount_cents": 500}, request=request)
    (row,) = log.file(what="card")
    assert row["who"] == "'@SUM(A1)"
    assert row["browser"].startswith("'=cmd")
    assert (row["what"], row["changes"]) == ("'@SUM(A1) added a payment method", "amount: $5.00")
    assert (row["role"], row["target"], row["ip_address"]) == ("Billing", "payment method 7", "192.0.2.7")
    assert row["at_utc"].endswith("Z")
    told = AuditEvent.objects.get(action="audit_log.downloaded")
    assert (told.organization, told.actor, told.after) == (log.organization, log.admin, {"what": "card"})
    assert told.origin.ip_address == "127.0.0.1"


def test_the_file_has_a_fixed_name_and_takes_a_post(log):
    url = reverse("audit_log_csv", args=["acme"])
    response = log.client.post(url)
    assert response["Content-Disposition"] == 'attachment; filename="audit-log.csv"'
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert log.client.get(url).status_code == 405


def many(log: Log, count: int, owner: Any = None) -> None:
    """Events as a busy organization has them: of ten people, mostly of one kind, a few of everything."""
    others = [cast.member(log.organization, name=f"Member {number}").user.pk for number in range(10)]
    rare = ["card.added", "membership.added", "auto_reload.saved", "organization.changed"]
    AuditEvent.objects.bulk_create(
        [
            AuditEvent(
                organization=log.organization,
                actor_id=others[number % 10] if number % 1_000 else None,
                action=rare[number // 997 % 4] if number % 997 == 0 else "access.refused",
                role="staff" if number % 1_500 == 1 else "user",
                target=f"purchase:{number}",
                at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
            )
            for number in range(count)
        ],
        batch_size=5_000,
    )
    if owner is not None:
        # As autovacuum does; the runtime role may not.
        owner.execute("ANALYZE accounts_auditevent")


def rows_read(plan: dict[str, Any]) -> int:
    """Rows that all scans below a node have looked at, those thrown away included."""
    here = 0
    if "Scan" in plan["Node Type"]:
        thrown = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        here = (plan["Actual Rows"] + thrown) * plan["Actual Loops"]
    return int(here) + sum(rows_read(inner) for inner in plan.get("Plans", []))


READS: list[dict[str, Any]] = [
    {},
    {"who": "actor"},
    {"who": "staff"},
    {"who": "system"},
    {"group": Group.CARD},
    {"group": Group.CREDITS},
    {"group": Group.REFUSED},
    {"about": "purchase 12345"},
    {"about": "req_none"},
    {"since": datetime(2026, 1, 2, tzinfo=UTC), "until": datetime(2026, 1, 3, tzinfo=UTC)},
    {"who": "actor", "until": datetime(2026, 1, 3, tzinfo=UTC)},
    {"group": Group.SETTINGS, "until": datetime(2026, 1, 9, tzinfo=UTC)},
]


@pytest.mark.django_db(transaction=True)
def test_a_page_reads_what_it_shows_among_many_thousands(log, owner_connection):
    many(log, 30_000, owner_connection)
    actor = AuditEvent.objects.exclude(actor=None).exclude(role="staff")[0].actor_id
    below = AuditEvent.objects.order_by("id").values_list("at", "pk")[20_000]
    for read in READS:
        filters = Filters(**{**read, **({"who": str(actor)} if read.get("who") == "actor" else {})})
        for position in (None, below):
            plan = explained(audit_log.positions(log.organization, filters, below=position, limit=51))
            # Each action of a group is read on its own, up to a page of it.
            assert rows_read(plan) <= 51 * (len(ACTIONS) if filters.group else 3), (filters, plan)


def explained(found: Any) -> dict[str, Any]:
    sql, parameters = found.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters)
        plan: dict[str, Any] = cursor.fetchone()[0][0]["Plan"]
    return plan


def test_the_number_of_queries_is_the_same_for_one_event_and_for_many(log):
    log.add(by=log.admin)
    with CaptureQueriesContext(connection) as few:
        log.page()
    many(log, 3_000)
    with CaptureQueriesContext(connection) as lots:
        log.page()
    assert len(lots) == len(few)


def test_the_file_is_read_in_batches_as_it_is_sent(log):
    many(log, 2_500)
    response = log.client.post(reverse("audit_log_csv", args=["acme"]))
    parts = iter(response.streaming_content)  # type: ignore[attr-defined]
    with CaptureQueriesContext(connection) as first:
        for _ in range(10):
            next(parts)
    with CaptureQueriesContext(connection) as rest:
        count = 10 + sum(1 for _ in parts)
    assert count == 2_501
    # A place to begin; then ids, events and people of each batch.
    assert len(first) == 4
    assert len(rest) == 6


def test_former_people_are_found_by_a_step_for_each_of_them(log):
    many(log, 3_000)
    Membership.objects.filter(organization=log.organization).exclude(user=log.admin).delete()
    assert len(audit_log._actor_ids(log.organization)) == 10
    names = [name for _, name in audit_log.actors_of(organization=log.organization)]
    assert names[0] == "Ada Admin"
    assert len(names) == 11


def test_the_choice_of_a_day_is_kept_in_the_form(log):
    assert f'value="{date(2026, 11, 1).isoformat()}"' in log.page(since="2026-11-01")
