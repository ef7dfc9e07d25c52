"""The demo's people, organizations and service key. Running it again changes nothing."""

import os
from pathlib import Path

from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP

from accounts import memberships, organizations, service_keys
from accounts.models import Membership, Organization, User
from accounts.permissions import Role
from console.demo.people import PASSWORD, PEOPLE, STAFF_TOTP_SECRET, Person

ACME_SLUG = "acme-robotics"
BOREALIS_SLUG = "borealis-labs"


def seed_people_and_organizations() -> None:
    """Create who and what the demo shows, where it is missing."""
    users = {person.email: user_for(person) for person in PEOPLE}
    admin = users["admin@acme.example"]
    acme = organization(name="Acme Robotics", slug=ACME_SLUG, time_zone="Europe/Berlin", admin=admin)
    for person in PEOPLE:
        if person.role:
            join(acme, user=users[person.email], role=Role(person.role))
    staff = users["staff@example.test"]
    give_code(staff)
    # A second organization shows how to switch, and that a role holds in one organization only.
    borealis = organization(name="Borealis Labs", slug=BOREALIS_SLUG, time_zone="UTC", admin=staff)
    join(borealis, user=admin, role=Role.USER)


def user_for(person: Person) -> User:
    """The demo's user, created when missing."""
    user = User.objects.filter(email=person.email).first()
    if user is None:
        is_staff = not person.role
        user = User.objects.create_user(
            person.email,
            PASSWORD,
            name=person.name,
            is_email_verified=True,
            is_staff=is_staff,
            is_superuser=is_staff,
        )
    return user


def give_code(user: User) -> None:
    """Let the user sign in with the demo's public code, unless they have an app of their own by now."""
    if not Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).exists():
        TOTP.activate(user, STAFF_TOTP_SECRET)


def organization(*, name: str, slug: str, time_zone: str, admin: User) -> Organization:
    """The demo's organization, created when missing."""
    existing = Organization.objects.filter(slug=slug).first()
    return existing or organizations.create_organization(
        name=name, slug=slug, time_zone=time_zone, admin=admin, actor=None
    )


def join(organization: Organization, *, user: User, role: Role) -> None:
    """Make the user a member unless they are one, in whatever role by now."""
    if not Membership.objects.filter(organization=organization, user=user).exists():
        memberships.add_member(organization=organization, user=user, role=role, actor=None)


def seed_service_key(path: Path) -> None:
    """Keep a working service key in a file that only this user can read.

    The product shows a key once and stores its digest only, so a lost file means a new key.
    """
    if path.exists() and service_keys.find(key_text=path.read_text().strip()):
        return
    issued = service_keys.issue(name="Demo gateway", actor=None)
    unfinished = path.with_name(f"{path.name}.new")
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{issued.key_text}\n")
    unfinished.replace(path)
