"""Creating an organization. It always begins with one Admin, so that nobody's credits are ever without one."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest
from django.utils.text import slugify

from accounts import audit, memberships
from accounts.models import Organization, User
from accounts.permissions import Role

SLUG_LENGTH = 60
SLUG_TRIES = 1000


class SlugTaken(Exception):
    """Another organization stands at this address already."""


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
    organization.full_clean()
    with transaction.atomic():
        organization.save()
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


def free_slug(*, name: str) -> str:
    """The name as an address, with a number behind it when it is taken. Two creations at once may still collide:
    the unique index then refuses the later one."""
    base = slugify(name)[: SLUG_LENGTH - 5].strip("-") or "organization"
    taken = set(Organization.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    if base not in taken:
        return base
    return next(slug for number in range(2, SLUG_TRIES) if (slug := f"{base}-{number}") not in taken)
