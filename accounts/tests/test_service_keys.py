"""Service keys: shown once, kept as a digest, ended for good."""

import hashlib
import re
from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, transaction

from accounts import api_keys, key_text, service_keys
from accounts.models import ApiKey, AuditEvent, Scope, ServiceKey
from accounts.tests import cast

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def test_a_key_is_found_by_its_text():
    issued = service_keys.issue(name=" gateway ", actor=None)
    assert re.fullmatch(r"ck_gate_[A-Za-z0-9]{8}_[A-Za-z0-9]{49}", issued.key_text)
    assert service_keys.find(key_text=issued.key_text) == issued.service_key
    assert issued.service_key.name == "gateway"


def test_the_database_and_the_log_never_hold_the_secret():
    issued = service_keys.issue(name="gateway", actor=None)
    secret = issued.key_text.rpartition("_")[2]
    assert secret not in repr(list(ServiceKey.objects.values())) + repr(list(AuditEvent.objects.values()))
    assert secret not in repr(issued)


@pytest.mark.parametrize(
    "change", ["secret", "prefix", "case", "short", "long", "checksum", "newline", "space", "empty", "nul"]
)
def test_a_text_that_is_not_exactly_the_key_finds_nothing(change):
    text = service_keys.issue(name="gateway", actor=None).key_text
    other = service_keys.issue(name="other", actor=None).key_text
    changed = {
        "secret": text[:17] + other[17:],
        "prefix": other[:17] + text[17:],
        "case": text.swapcase(),
        "short": text[:-1],
        "long": text + "a",
        "checksum": text[:-1] + ("a" if text[-1] != "a" else "b"),
        "newline": text + "\n",
        "space": " " + text,
        "empty": "",
        "nul": text[:-1] + "\x00",
    }[change]
    assert service_keys.find(key_text=changed) is None


def test_a_key_from_before_checksums_goes_on_to_work_until_it_is_revoked():
    prefix, secret = "ck_live_AbCdEf01", "s" * 43
    digest = hashlib.sha256(secret.encode()).hexdigest()
    key = ServiceKey.objects.create(
        name="former", prefix=prefix, secret_sha256=digest, scopes=["meter", "read", "keys"]
    )
    assert service_keys.find(key_text=f"{prefix}_{secret}") == key
    service_keys.revoke(service_key=key, at=AT, actor=None)
    assert service_keys.find(key_text=f"{prefix}_{secret}") is None


def test_a_key_of_an_organization_is_no_service_key_and_the_other_way_round():
    issued = api_keys.create(
        organization=cast.organization(), name="a", surface=ApiKey.Surface.API, expires_at=None, actor=None
    )
    assert service_keys.find(key_text=issued.key_text) is None
    text = service_keys.issue(name="gateway", actor=None).key_text
    assert api_keys.verify(prefix=text[:16], key_sha256=key_text.digest(text)) is None


def test_a_key_holds_its_scopes_and_the_database_knows_no_others():
    key = service_keys.issue(name="reader", scopes=[Scope.READ], actor=None).service_key
    assert [key.may(scope) for scope in Scope] == [False, True, False]
    with pytest.raises(ValueError, match="at least one"):
        service_keys.issue(name="nothing", scopes=[], actor=None)
    for scopes in ([], ["root"]):
        with pytest.raises(IntegrityError), transaction.atomic():
            ServiceKey.objects.filter(pk=key.pk).update(scopes=scopes)


def test_a_revoked_key_is_nobody():
    staff = cast.person(is_staff=True)
    issued = service_keys.issue(name="gateway", actor=staff)
    assert service_keys.revoke(service_key=issued.service_key, at=AT, actor=staff)
    assert service_keys.find(key_text=issued.key_text) is None
    actions = AuditEvent.objects.order_by("id").values_list("action", "actor")
    assert list(actions) == [("service_key.issued", staff.pk), ("service_key.revoked", staff.pk)]


def test_revoking_twice_keeps_the_first_time():
    key = service_keys.issue(name="gateway", actor=None).service_key
    assert service_keys.revoke(service_key=key, at=AT, actor=None)
    assert not service_keys.revoke(service_key=key, at=AT.replace(year=2027), actor=None)
    key.refresh_from_db()
    assert key.revoked_at == AT
    assert AuditEvent.objects.filter(action="service_key.revoked").count() == 1


def test_use_is_marked_for_many_keys_at_once(django_assert_num_queries):
    keys = [service_keys.issue(name=str(number), actor=None).service_key for number in range(3)]
    with django_assert_num_queries(1):
        service_keys.mark_used(ids=[key.pk for key in keys[:2]], at=AT)
    assert set(ServiceKey.objects.values_list("name", "last_used_at")) == {("0", AT), ("1", AT), ("2", None)}
