"""Creating an organization, and what it asks of its people.

It always begins with one Admin, so that nobody's credits are ever without one.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import slugify

from accounts import audit, memberships, notices, second_factors
from accounts.models import Membership, Organization, User
from accounts.permissions import Role

SLUG_LENGTH = 60
SLUG_TRIES = 1000
# How many organizations one person may be Admin of before they can create no more by themselves.
ADMIN_OF_MAXIMUM: Final = 10


class SlugTaken(Exception):
    """Another organization stands at this address already."""


class TooManyOrganizations(Exception):
    """The person is Admin of ADMIN_OF_MAXIMUM organizations already."""


def create_own_organization(
    *, name: str, slug: str, time_zone: str, creator: User, request: HttpRequest | None = None
) -> Organization:
    """Create an organization as a customer does, by and for oneself.

    Raises ``TooManyOrganizations``, ``SlugTaken`` and ``ValidationError``, as ``create_organization`` does.
    """
    with transaction.atomic():
        # One creation of a person at a time, so that the limit holds.
        User.objects.select_for_update(no_key=True).get(pk=creator.pk)
        if Membership.objects.filter(user=creator, role=Role.ADMIN).count() >= ADMIN_OF_MAXIMUM:
            raise TooManyOrganizations
        return create_organization(
            name=name, slug=slug, time_zone=time_zone, admin=creator, actor=creator, request=request
        )


def create_organization(
    *,
    name: str,
    admin: User,
    actor: User | None,
    slug: str = "",
    time_zone: str = "UTC",
    request: HttpRequest | None = None,
) -> Organization:
    """Create an organization with ``admin`` as its first member.

    Without a ``slug`` one is made from the name. Raises ``SlugTaken`` for a given slug that is in use, and
    ``ValidationError`` for a name, slug or time zone that can't be.
    """
    if slug and Organization.objects.filter(slug=slug).exists():
        raise SlugTaken(slug)
    organization = Organization(name=name.strip(), slug=slug or free_slug(name=name), time_zone=time_zone)
    # Whether the slug is still free is the database's to say, when the row is written.
    organization.full_clean(validate_unique=False)
    with transaction.atomic():
        _save_with_free_slug(organization, is_given=bool(slug))
        audit.record(
            organization=organization,
            actor=actor,
            action="organization.created",
            target=f"organization:{organization.pk}",
            after={"slug": organization.slug, "time_zone": organization.time_zone},
            request=request,
        )
        memberships.add_member(organization=organization, user=admin, role=Role.ADMIN, actor=actor, request=request)
    return organization


def _save_with_free_slug(organization: Organization, *, is_given: bool) -> None:
    """Save a new organization. Two at once may have chosen the same slug: a made one gets another number then."""
    for is_last_try in (False, True):
        try:
            with transaction.atomic():
                organization.save(force_insert=True)
                return
        except IntegrityError as error:
            if is_given or is_last_try:
                raise SlugTaken(organization.slug) from error
            organization.slug = free_slug(name=organization.name)


class SecondFactorMissing(Exception):
    """Whoever asks a second factor of others needs one first."""


def require_second_factor(
    *, organization: Organization, is_required: bool, actor: User, request: HttpRequest | None = None
) -> bool:
    """Ask a second factor of everyone who is Admin or Billing, or stop asking; returns whether that is a change.

    It counts from each person's next request on: whoever has none is led to set one up before anything else. Raises
    ``SecondFactorMissing`` when the actor has none.
    """
    if is_required and not second_factors.has_factor(user=actor):
        raise SecondFactorMissing
    with transaction.atomic():
        changed = Organization.objects.filter(pk=organization.pk, requires_second_factor=not is_required).update(
            requires_second_factor=is_required
        )
        organization.requires_second_factor = is_required
        if not changed:
            return False
        event = audit.record(
            organization=organization,
            actor=actor,
            action="organization.second_factor_required" if is_required else "organization.second_factor_not_required",
            target=f"organization:{organization.pk}",
            before={"requires_second_factor": not is_required},
            after={"requires_second_factor": is_required},
            request=request,
        )
        now = "now need a second factor" if is_required else "no longer need a second factor"
        notices.tell_people(
            organization=organization,
            actor=actor,
            kind="second_factor",
            subject=f"Admin and Billing members of {organization.name} {now}",
            body=f"{actor.get_full_name()} decided that everyone who is Admin or Billing in {organization.name} "
            f"{now.removeprefix('now ')}{' from now on' if is_required else ''}.\n\n"
            f"See {settings.SITE_URL}{reverse('organization_security', args=[organization.slug])}\n",
            key=f"{event.pk}",
        )
    return True


def change_settings(
    *, organization: Organization, name: str, time_zone: str, actor: User, request: HttpRequest | None = None
) -> Organization:
    """Give the organization another name or time zone; the same again changes nothing. Its address always stays.

    Raises ``ValidationError`` for a name or a time zone that can't be.
    """
    with transaction.atomic():
        current = Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
        wanted = {"name": name.strip(), "time_zone": time_zone}
        before = {field: getattr(current, field) for field, value in wanted.items() if getattr(current, field) != value}
        if not before:
            return current
        for field in before:
            setattr(current, field, wanted[field])
        current.full_clean()
        current.save(update_fields=list(before))
        audit.record(
            organization=current,
            actor=actor,
            action="organization.changed",
            target=f"organization:{current.pk}",
            before=before,
            after={field: wanted[field] for field in before},
            request=request,
        )
    return current


def free_slug(*, name: str) -> str:
    """The name as an address, with a number behind it when it is taken. Raises ``SlugTaken`` when all numbers are."""
    base = slugify(name)[: SLUG_LENGTH - 5].strip("-_") or "organization"
    taken = set(Organization.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    if base not in taken:
        return base
    free = next((slug for number in range(2, SLUG_TRIES) if (slug := f"{base}-{number}") not in taken), None)
    if free is None:
        raise SlugTaken(base)
    return free
