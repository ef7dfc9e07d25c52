"""Customers' keys at the gate: whose they are, and when they stop paying for requests."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts import api_keys, key_text, service_keys
from accounts.models import ApiKey, Organization, Scope
from accounts.permissions import Role
from accounts.tests import cast
from billing.api import key_states as module
from billing.api.key_states import Asked, KeyStates
from billing.credits import key_limits, usage_blocks, usage_stops
from billing.models import UsageBlock
from billing.tests.gateway import SMALL_NANO, Gateway

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
# SMALL costs 0.45 cents: three of them pass a limit of one cent.
CENT_IN_SMALL = 3


@pytest.fixture
def acme(gateway: Gateway) -> Organization:
    gateway.fund(10**12)
    return Organization.objects.get(slug="acme")


@pytest.fixture(autouse=True)
def no_memory(monkeypatch):
    """Each request reads keys anew; that they are remembered for a second is a test of its own."""
    monkeypatch.setattr(module, "STATE_SECONDS_MAX", 0.0)


def create(organization, *, limit_cents=None, **changes):
    settings = {"name": "production", "surface": ApiKey.Surface.API, "expires_at": None} | changes
    return key_limits.create_key(organization=organization, limit_cents=limit_cents, actor=None, **settings)


def authorize(gateway, key, idempotency_key, **changes):
    return gateway.post("authorize", gateway.usage(idempotency_key, key_ref=key.prefix, **changes))


def verify(gateway, text, **changes):
    return gateway.post("keys/verify", {"prefix": text[:16], "key_sha256": key_text.digest(text)} | changes)


# --- Whose a key is --------------------------------------------------------------------------------------------------


def test_the_gate_tells_whose_a_key_is_by_its_digest(gateway, acme):
    issued = create(acme, surface=ApiKey.Surface.CLAUDE_CODE)
    body = verify(gateway, issued.key_text).json()
    assert body.pop("request_id")
    assert body == {
        "organization": "acme",
        "key_ref": issued.api_key.prefix,
        "surface": "claude_code",
        "state": "active",
        "expires_at": None,
        "resets_at": None,
    }


def test_a_missing_key_and_a_wrong_digest_are_one_answer(gateway, acme):
    text, other = create(acme).key_text, create(acme).key_text
    wrong = verify(gateway, text, key_sha256=key_text.digest(other))
    missing = verify(gateway, text, prefix="ck_live_00000000")
    for response in (wrong, missing):
        gateway.expect_refusal(response, 404, "key_unknown")
    same = [response.content.replace(response.json()["request_id"].encode(), b"") for response in (wrong, missing)]
    assert same[0] == same[1]


def test_a_missing_key_is_compared_as_a_wrong_one_is(gateway, acme, monkeypatch):
    text, compared = create(acme).key_text, []
    is_same = key_text.is_same

    def watched(*, stored, given):
        compared.append(stored is None)
        return is_same(stored=stored, given=given)

    monkeypatch.setattr(key_text, "is_same", watched)
    verify(gateway, text, key_sha256="0" * 64)
    verify(gateway, text, prefix="ck_live_00000000")
    assert compared[-2:] == [False, True] or compared == [False, False, True]


@pytest.mark.parametrize(
    "change",
    [
        {"prefix": "ck_gate_AbCdEf01"},
        {"prefix": "ck_live_AbCdEf01_"},
        {"prefix": 7},
        {"key_sha256": "A" * 64},
        {"key_sha256": "0" * 63},
        {"key": "more"},
    ],
)
def test_what_is_no_prefix_and_digest_is_refused_by_name(gateway, acme, change):
    problem = gateway.expect_refusal(verify(gateway, create(acme).key_text, **change), 422, "invalid")
    assert problem["field"] == next(iter(change))


# --- When a key stops paying -----------------------------------------------------------------------------------------


def test_a_key_pays_for_its_surface_in_its_organization(gateway, acme):
    key = create(acme).api_key
    assert authorize(gateway, key, "a").status_code == 201
    gateway.expect_refusal(authorize(gateway, key, "b", surface="claude_code"), 403, "key_surface_mismatch")
    gateway.add_organization("other")
    gateway.fund(10**12, slug="other")
    gateway.expect_refusal(authorize(gateway, key, "c", organization="other"), 403, "key_unknown")


def test_a_label_of_the_gateways_own_is_taken_and_a_key_that_does_not_exist_is_not(gateway, acme):
    assert gateway.post("authorize", gateway.usage("a", key_ref="team-7/batch")).status_code == 201
    problem = gateway.expect_refusal(
        gateway.post("authorize", gateway.usage("b", key_ref="ck_live_00000000")), 403, "key_unknown"
    )
    assert problem["field"] == "key_ref"
    assert problem["who_can_fix"] == ["admin", "developer", "limited_developer"]
    assert problem["console_url"].endswith("/o/acme/keys/")


@pytest.mark.parametrize("operation", ["authorize", "charge"])
@pytest.mark.parametrize("end", ["revoked", "expired", "stopped"])
def test_a_key_that_ended_pays_for_nothing_new(gateway, acme, operation, end):
    key = create(acme).api_key
    assert gateway.post(operation, gateway.usage("before", key_ref=key.prefix)).status_code == 201
    at = timezone.now()
    if end == "revoked":
        api_keys.revoke(api_key=key, at=at, actor=None)
    elif end == "stopped":
        api_keys.stop(api_key=key, at=at, actor=None)
    else:
        ApiKey.objects.update(expires_at=at)
    refused = gateway.post(operation, gateway.usage("after", key_ref=key.prefix))
    gateway.expect_refusal(refused, 403, f"key_{end}")


def test_a_stopped_key_works_again_when_it_is_resumed(gateway, acme):
    key = create(acme).api_key
    api_keys.stop(api_key=key, at=timezone.now(), actor=None)
    gateway.expect_refusal(authorize(gateway, key, "a"), 403, "key_stopped")
    api_keys.resume(api_key=key, actor=None)
    assert authorize(gateway, key, "a").status_code == 201


def test_what_was_served_is_charged_whatever_has_become_of_the_key(gateway, acme):
    key = create(acme).api_key
    held = authorize(gateway, key, "a")
    api_keys.revoke(api_key=key, at=timezone.now(), actor=None)
    assert gateway.post("capture", gateway.capture(held, "c", {"input": 10})).status_code == 201
    assert gateway.post("usage", gateway.usage("u", key_ref=key.prefix)).status_code == 201


@pytest.mark.parametrize("operation", ["authorize", "charge"])
def test_what_was_done_under_an_idempotency_key_is_answered_again_after_the_key_ended(gateway, acme, operation):
    key = create(acme).api_key
    first = gateway.post(operation, gateway.usage("a", key_ref=key.prefix)).json()
    api_keys.revoke(api_key=key, at=timezone.now(), actor=None)
    again = gateway.post(operation, gateway.usage("a", key_ref=key.prefix))
    assert again.status_code == 200
    assert again.json()["is_replay"]
    assert [again.json()[name] for name in ("hold_id", "charge_id")] == [first["hold_id"], first["charge_id"]]


def test_a_batch_refuses_each_event_by_its_own_key(gateway, acme):
    good, revoked = create(acme).api_key, create(acme).api_key
    done = gateway.post("charge", gateway.usage("done", key_ref=revoked.prefix)).json()["charge_id"]
    api_keys.revoke(api_key=revoked, at=timezone.now(), actor=None)
    events = [
        gateway.usage("1", key_ref=good.prefix),
        gateway.usage("2", key_ref=revoked.prefix),
        gateway.usage("3", key_ref=revoked.prefix, operation="usage"),
        gateway.usage("4", organization="nowhere"),
        gateway.usage("done", key_ref=revoked.prefix),
        gateway.usage("5", key_ref="label"),
    ]
    results = gateway.post("charge_many", {"events": events}).json()["results"]
    assert [result["status"] for result in results] == [201, 403, 201, 404, 200, 201]
    assert results[1]["error"]["code"] == "key_revoked"
    assert results[4]["result"]["charge_id"] == done


# --- The limit of a month --------------------------------------------------------------------------------------------


def test_a_key_stops_at_its_limit_and_says_when_it_goes_on(gateway, acme):
    key, other = create(acme, limit_cents=1).api_key, create(acme).api_key
    for number in range(CENT_IN_SMALL):
        assert gateway.post("charge", gateway.usage(f"{number}", key_ref=key.prefix)).status_code == 201
    problem = gateway.expect_refusal(authorize(gateway, key, "a"), 403, "key_limit_reached")
    now = datetime.now(UTC)
    assert problem["resets_at"] == f"{now.year + now.month // 12}-{now.month % 12 + 1:02}-01T00:00:00Z"
    assert authorize(gateway, other, "b").status_code == 201
    assert gateway.post("usage", gateway.usage("served", key_ref=key.prefix)).status_code == 201
    key_limits.edit_key(api_key=key, name=key.name, expires_at=None, limit_cents=100, at=timezone.now(), actor=None)
    assert authorize(gateway, key, "a").status_code == 201


def test_usage_of_last_month_is_not_this_months(gateway, acme, credits_clock):
    key = create(acme, limit_cents=1).api_key
    start = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    before = start - timedelta(seconds=1)
    for number in range(CENT_IN_SMALL):
        body = gateway.usage(f"{number}", key_ref=key.prefix, occurred_at=before.isoformat())
        assert gateway.post("usage", body).status_code == 201
    assert authorize(gateway, key, "a").status_code == 201
    credits_clock.set(before)
    assert key_limits.known_keys([key.prefix])[key.prefix].state == "limit_reached"


def test_what_is_held_does_not_count(gateway, acme):
    key = create(acme, limit_cents=1).api_key
    for number in range(CENT_IN_SMALL + 1):
        assert authorize(gateway, key, f"{number}").status_code == 201


def test_spend_is_told_by_key(gateway, acme):
    keys = [create(acme).api_key for _ in range(2)]
    for number in range(2):
        gateway.post("usage", gateway.usage(f"{number}", key_ref=keys[0].prefix))
    spent = key_limits.spent_nano(organization_id=acme.pk, prefixes=[key.prefix for key in keys], at=timezone.now())
    assert spent == {keys[0].prefix: 2 * SMALL_NANO}


# --- What a process remembers ----------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1_000.0

    monkeypatch.setattr(module, "STATE_SECONDS_MAX", 1.0)
    monkeypatch.setattr("time.monotonic", lambda: Clock.now)
    return Clock


def test_many_keys_are_read_with_one_query_in_a_second(gateway, acme, clock, django_assert_num_queries):
    keys = [create(acme).api_key for _ in range(5)]
    states = KeyStates()
    asked = [Asked(acme.pk, key.prefix, "api") for key in keys]
    with django_assert_num_queries(2):
        assert states.refusals(asked) == [None] * 5  # and one writes the marks
    with django_assert_num_queries(0):
        clock.now += 0.9
        for one in asked:
            states.refusals([one])
    with django_assert_num_queries(1):
        clock.now += 0.2
        for one in asked:
            states.refusals([one])


def test_a_key_that_ended_pays_for_less_than_a_second_more(gateway, acme, clock):
    key = create(acme).api_key
    states, asked = KeyStates(), [Asked(acme.pk, key.prefix, "api")]
    assert states.refusals(asked) == [None]
    api_keys.revoke(api_key=key, at=timezone.now(), actor=None)
    clock.now += 0.99
    assert states.refusals(asked) == [None]
    clock.now += 0.01
    (refusal,) = states.refusals(asked)
    assert refusal is not None
    assert refusal.code == "key_revoked"


def test_a_key_that_does_not_exist_is_asked_for_each_time(gateway, acme, clock):
    states = KeyStates()
    (refusal,) = states.refusals([Asked(acme.pk, "ck_live_AbCdEf01", "api")])
    assert refusal is not None
    key = create(acme).api_key
    ApiKey.objects.filter(pk=key.pk).update(prefix="ck_live_AbCdEf01")
    assert states.refusals([Asked(acme.pk, "ck_live_AbCdEf01", "api")]) == [None]


def test_keys_are_forgotten_that_nobody_asks_for(gateway, acme, clock):
    keys = [create(acme).api_key for _ in range(3)]
    states = KeyStates()
    for key in keys:
        states.refusals([Asked(acme.pk, key.prefix, "api")])
    clock.now += module.LATELY_SECONDS + 1
    states.refusals([Asked(acme.pk, keys[0].prefix, "api")])
    assert list(states._known) == [keys[0].prefix]


def test_use_is_marked_at_most_twice_a_minute(gateway, acme, clock):
    key = create(acme).api_key
    states, asked = KeyStates(), [Asked(acme.pk, key.prefix, "api")]
    states.refusals(asked)
    key.refresh_from_db()
    first = key.last_used_at
    assert first is not None
    clock.now += module.MARK_SECONDS_MIN - 1
    states.refusals(asked)
    key.refresh_from_db()
    assert key.last_used_at == first
    clock.now += 1
    states.refusals(asked)
    key.refresh_from_db()
    assert key.last_used_at > first


def test_a_refused_request_is_no_use_of_the_key(gateway, acme):
    key = create(acme).api_key
    api_keys.stop(api_key=key, at=timezone.now(), actor=None)
    authorize(gateway, key, "a")
    key.refresh_from_db()
    assert key.last_used_at is None


# --- All usage stopped -----------------------------------------------------------------------------------------------


def test_a_stop_counts_from_the_next_request_on_and_says_whose_it_is(gateway, acme):
    admin = cast.member(acme, role=Role.ADMIN).user
    assert gateway.post("authorize", gateway.usage("a")).status_code == 201
    usage_stops.stop(organization=acme, actor=admin)
    for operation in ("authorize", "charge"):
        problem = gateway.expect_refusal(gateway.post(operation, gateway.usage("b")), 403, "usage_stopped")
        assert problem["who_can_fix"] == ["admin"]
    (event,) = gateway.post("charge_many", {"events": [gateway.usage("c")]}).json()["results"]
    assert event["error"]["code"] == "usage_stopped"
    usage_stops.resume(organization=acme, actor=admin)
    assert gateway.post("authorize", gateway.usage("b")).status_code == 201


def test_what_staff_or_the_platform_stopped_is_not_called_the_customers_stop(gateway, acme):
    admin = cast.member(acme, role=Role.ADMIN).user
    usage_stops.stop(organization=acme, actor=admin)
    usage_blocks.begin(organization=acme, kind=UsageBlock.Kind.SUSPENSION, actor=None)
    gateway.expect_refusal(gateway.post("authorize", gateway.usage("a")), 403, "organization_suspended")


# --- Scopes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", Scope)
def test_a_service_key_may_do_what_its_scopes_say(gateway, acme, scope):
    text = create(acme).key_text
    gateway.key_text = service_keys.issue(name="narrow", scopes=[scope], actor=None).key_text
    answers = {
        Scope.METER: [
            gateway.post("authorize", gateway.usage("a")),
            gateway.post("charge", gateway.usage("c")),
            gateway.post("usage", gateway.usage("u")),
            gateway.post("charge_many", {"events": [gateway.usage("m")]}),
            gateway.post(
                "capture", {"organization": "acme", "hold_id": 1, "idempotency_key": "x", "quantities": {"input": 1}}
            ),
            gateway.post("void", {"organization": "acme", "hold_id": 1}),
        ],
        Scope.READ: [gateway.get("balance?organization=acme")],
        Scope.KEYS: [verify(gateway, text)],
    }
    for needed, responses in answers.items():
        for response in responses:
            if needed is scope:
                assert response.status_code != 403
            else:
                gateway.expect_refusal(response, 403, "scope_missing")
    assert gateway.get("openapi.json").status_code == 200
