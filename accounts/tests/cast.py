"""The people of the tests. Each call makes the rows it names and nothing else."""

from itertools import count

from accounts.models import Membership, Organization, User
from accounts.permissions import Role

PASSWORD = "correct horse battery"

_number = count(1)


def person(email: str = "", *, name: str = "", is_staff: bool = False, is_superuser: bool = False) -> User:
    """Somebody with a confirmed address and PASSWORD."""
    return User.objects.create_user(
        email or f"person-{next(_number)}@example.test",
        PASSWORD,
        name=name,
        is_email_verified=True,
        is_staff=is_staff,
        is_superuser=is_superuser,
    )


def organization(name: str = "Acme Robotics", *, time_zone: str = "UTC") -> Organization:
    """An organization without members."""
    return Organization.objects.create(name=name, slug=name.lower().replace(" ", "-"), time_zone=time_zone)


def member(of: Organization, *, role: Role = Role.USER, user: User | None = None, name: str = "") -> Membership:
    """A member with this role; a new person unless ``user`` is given."""
    return Membership.objects.create(organization=of, user=user or person(name=name), role=role)
