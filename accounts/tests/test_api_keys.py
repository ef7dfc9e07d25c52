"""API keys of organizations: shown once, changed with a trace, and ended once whoever asks at the same moment."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest
from django.db import IntegrityError, connections
from django.utils import timezone

from accounts import api_keys, key_text, memberships
from accounts.api_keys import AlreadyMade, KeyEnded
from accounts.models import ApiKey, AuditEvent, OutboxMessage
from accounts.permissions import Role
from accounts.tests import cast

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def at():
    return timezone.now()


@pytest.fixture
def developer():
    return cast.member(cast.organization(), role=Role.DEVELOPER, name="Dev Eloper")


def create(member, **changes):
    settings = {"name": "production", "surface": ApiKey.Surface.API, "expires_at": None} | changes
    return api_keys.create(organization=member.organization, actor=member.user, **settings)


def found(issued):
    text = issued.key_text
    return api_keys.verify(prefix=text[:16], key_sha256=key_text.digest(text))


def at_once(work):
    """Run all of it at the same time, each on a connection of its own; errors as values."""
    start = threading.Barrier(len(work))

    def run(call):
        try:
            start.wait(timeout=30)
            return call()
        except Exception as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(work)) as threads:
        return list(threads.map(run, work))


def events(action):
    return list(AuditEvent.objects.filter(action=f"api_key.{action}").order_by("pk"))


def test_a_key_is_known_by_its_public_part_and_the_digest_of_its_text(developer):
    issued, other = create(developer, name=" production "), create(developer)
    assert found(issued) == issued.api_key
    assert issued.api_key.name == "production"
    assert api_keys.verify(prefix=issued.api_key.prefix, key_sha256=key_text.digest(other.key_text)) is None
    assert api_keys.verify(prefix="ck_live_00000000", key_sha256=key_text.digest(issued.key_text)) is None


def test_the_text_is_kept_nowhere(developer):
    issued = create(developer)
    secret = issued.key_text[17:]
    rows = [list(model.objects.values()) for model in (ApiKey, AuditEvent, OutboxMessage)]
    assert secret not in repr(rows)
    assert secret not in repr(issued)


def test_each_change_is_audited_with_what_was_before_and_never_the_secret(developer, at):
    organization, actor = developer.organization, developer.user
    key = create(developer).api_key
    ends_at = at + 48 * HOUR
    assert api_keys.edit(api_key=key, name="batch", expires_at=ends_at, at=at, actor=actor)
    assert not api_keys.edit(api_key=key, name="batch", expires_at=ends_at, at=at, actor=actor)
    assert api_keys.stop(api_key=key, at=at, actor=actor)
    assert not api_keys.stop(api_key=key, at=at, actor=actor)
    assert api_keys.resume(api_key=key, actor=actor)
    assert not api_keys.resume(api_key=key, actor=actor)
    api_keys.rotate(api_key=key, overlap=HOUR, at=at, actor=actor)
    assert api_keys.revoke(api_key=key, at=at, actor=actor)
    assert not api_keys.revoke(api_key=key, at=at, actor=actor)

    done = ["created", "changed", "stopped", "resumed", "rotated", "revoked"]
    assert [event.action for event in AuditEvent.objects.order_by("pk")] == [f"api_key.{name}" for name in done]
    assert {(event.organization, event.actor, event.target) for event in AuditEvent.objects.all()} == {
        (organization, actor, f"api_key:{key.pk}")
    }
    (changed,) = events("changed")
    assert (changed.before["name"], changed.after["name"]) == ("production", "batch")
    assert (changed.before["expires_at"], changed.after["expires_at"]) == (None, ends_at.isoformat())


def test_the_admins_are_told_and_the_actor_is_not(developer):
    admin = cast.member(developer.organization, role=Role.ADMIN)
    key = create(developer).api_key
    api_keys.stop(api_key=key, at=timezone.now(), actor=admin.user)
    (mail,) = OutboxMessage.objects.all()
    assert mail.recipients == [admin.user.email]
    assert "was created by Dev Eloper" in mail.body
    assert f"/o/{developer.organization.slug}/keys/" in mail.body


def test_states_follow_from_what_was_done_and_the_most_final_counts(developer, at):
    key = create(developer, expires_at=at + HOUR).api_key
    assert key.state(at=at) == "active"
    api_keys.stop(api_key=key, at=at, actor=None)
    assert key.state(at=at) == "stopped"
    assert key.state(at=at + HOUR) == "expired", "the end is not part of its life"
    api_keys.revoke(api_key=key, at=at, actor=None)
    assert key.state(at=at + HOUR) == "revoked"
    assert not api_keys.resume(api_key=key, actor=None), "revoked is for ever"


@pytest.mark.parametrize("overlap", api_keys.OVERLAPS)
def test_a_rotated_key_works_for_the_overlap_and_its_successor_has_its_settings(developer, overlap):
    key = create(developer, surface=ApiKey.Surface.CLAUDE_CODE).api_key
    at = timezone.now()
    issued = api_keys.rotate(api_key=key, overlap=overlap, at=at, actor=developer.user)
    key.refresh_from_db()
    assert key.expires_at == at + overlap
    assert key.state(at=at + overlap) == "expired"
    assert issued.api_key.rotated_from == key
    assert (issued.api_key.name, issued.api_key.surface, issued.api_key.expires_at) == (key.name, key.surface, None)
    assert found(issued) == issued.api_key
    assert events("rotated")[0].after["replacement"] == issued.api_key.prefix


def test_an_overlap_never_makes_a_key_live_longer(developer, at):
    key = create(developer, expires_at=at + HOUR).api_key
    api_keys.rotate(api_key=key, overlap=24 * HOUR, at=at, actor=None)
    key.refresh_from_db()
    assert key.expires_at == at + HOUR


def test_an_overlap_is_one_of_those_that_are_offered(developer, at):
    with pytest.raises(ValueError, match="overlap"):
        api_keys.rotate(api_key=create(developer).api_key, overlap=2 * HOUR, at=at, actor=None)


def test_what_has_ended_or_was_replaced_can_be_neither_rotated_nor_edited(developer, at):
    revoked, expired, rotated = (create(developer, expires_at=at + HOUR).api_key for _ in range(3))
    api_keys.revoke(api_key=revoked, at=at, actor=None)
    api_keys.rotate(api_key=rotated, overlap=HOUR, at=at, actor=None)
    for key, then in ((revoked, at), (expired, at + HOUR), (rotated, at)):
        with pytest.raises(KeyEnded):
            api_keys.rotate(api_key=key, overlap=HOUR, at=then, actor=None)
        with pytest.raises(KeyEnded):
            api_keys.edit(api_key=key, name="new", expires_at=None, at=then, actor=None)
    assert not events("changed")


def test_keys_outlive_the_membership_of_who_created_them(developer):
    issued = create(developer)
    memberships.remove_member(membership=developer, actor=None)
    assert found(issued) == issued.api_key
    key = api_keys.key_of(organization=issued.api_key.organization, key_id=issued.api_key.pk)
    assert key is not None
    assert key.created_by == developer.user


def test_case_128_a_key_of_another_organization_is_not_found(developer):
    key = create(developer).api_key
    other = cast.organization("Other")
    assert api_keys.key_of(organization=other, key_id=key.pk) is None


def test_use_is_marked_for_many_keys_with_one_query(developer, django_assert_num_queries):
    keys = [create(developer).api_key for _ in range(3)]
    at = datetime(2026, 11, 26, tzinfo=UTC)
    with django_assert_num_queries(1):
        api_keys.mark_used(prefixes=[key.prefix for key in keys[:2]], at=at)
    assert list(ApiKey.objects.order_by("pk").values_list("last_used_at", flat=True)) == [at, at, None]


@pytest.mark.django_db(transaction=True)
def test_two_that_revoke_at_once_revoke_once(developer, at):
    key = create(developer).api_key
    answers = at_once([partial(api_keys.revoke, api_key=key, at=at, actor=None)] * 4)
    assert sorted(answers) == [False, False, False, True]
    assert len(events("revoked")) == 1


@pytest.mark.django_db(transaction=True)
def test_one_form_sent_four_times_at_once_makes_one_key(developer):
    make = partial(create, developer, attempt_key=UUID(int=7))
    answers = at_once([make] * 4)
    assert sum(isinstance(answer, AlreadyMade) for answer in answers) == 3
    assert {answer.api_key.pk for answer in answers} == {ApiKey.objects.get().pk}
    assert len(events("created")) == 1


def test_the_same_attempt_of_another_organization_is_its_own(developer):
    other = cast.member(cast.organization("Other"), role=Role.DEVELOPER)
    for member in (developer, other):
        create(member, attempt_key=UUID(int=7))
    assert ApiKey.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_two_that_rotate_at_once_make_one_successor(developer, at):
    key = create(developer).api_key
    answers = at_once([partial(api_keys.rotate, api_key=key, overlap=HOUR, at=at, actor=None)] * 4)
    assert sum(isinstance(answer, KeyEnded) for answer in answers) == 3
    assert ApiKey.objects.filter(rotated_from=key).count() == 1
    assert len(events("rotated")) == 1


@pytest.mark.django_db(transaction=True)
def test_without_the_lock_the_database_still_refuses_a_second_successor(developer, at, monkeypatch):
    """The control: with the row's lock off the race is real, and the unique column is what ends it."""
    key = create(developer).api_key
    both_have_read = threading.Barrier(2)

    def unlocked(api_key):
        current = ApiKey.objects.select_related("organization").get(pk=api_key.pk)
        both_have_read.wait(timeout=30)
        return current

    monkeypatch.setattr(api_keys, "_locked", unlocked)
    answers = at_once([partial(api_keys.rotate, api_key=key, overlap=HOUR, at=at, actor=None)] * 2)
    assert sum(isinstance(answer, IntegrityError) for answer in answers) == 1
    assert ApiKey.objects.filter(rotated_from=key).count() == 1
