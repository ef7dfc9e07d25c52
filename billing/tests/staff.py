"""Staff of the platform in the tests: people with just the rights they need, at the browser."""

from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from accounts.tests import cast


def superuser() -> User:
    """Somebody with every right there is."""
    return cast.person(is_staff=True, is_superuser=True)


def somebody(*codenames: str) -> User:
    """A member of staff with these rights and no others."""
    user = cast.person(is_staff=True)
    rights = list(Permission.objects.filter(codename__in=codenames))
    assert {right.codename for right in rights} == set(codenames)
    user.user_permissions.set(rights)
    return user


def at_the_browser(user: User) -> Client:
    """The user, signed in; CSRF is checked as it is outside of tests."""
    client = Client(enforce_csrf_checks=False)
    client.force_login(user)
    return client
