"""`manage.py encrypt_second_factors`: bring all secrets of second factors under the first of MFA_ENCRYPTION_KEYS.

Run it after putting a new key in front; when it reports no failure, the old key may go. It may run again at any time.
"""

from typing import Any

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts import encryption

# What allauth encrypts, by its name in a factor's data.
SECRETS = ("secret", "seed")


class Command(BaseCommand):
    """Encrypts every secret again, one row at a time; fails at the end if one can't be read."""

    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        """Do all that can be done, then report."""
        unreadable: list[int] = []
        done = 0
        kinds = (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES)
        for pk in Authenticator.objects.filter(type__in=kinds).order_by("pk").values_list("pk", flat=True).iterator():
            try:
                done += encrypt_again(pk)
            except encryption.NotReadable:
                unreadable.append(pk)
        self.stdout.write(f"{done} secrets are under the first key.")
        if unreadable:
            raise CommandError(
                f"{len(unreadable)} can't be read with any of MFA_ENCRYPTION_KEYS, so their people can't sign in by "
                f"code: authenticators {', '.join(map(str, unreadable[:20]))}. Put the missing key back, or remove "
                "their factors in the admin."
            )


@transaction.atomic
def encrypt_again(pk: int) -> int:
    """One row; 0 when it was removed meanwhile. Locked, because a recovery code may be used in the same moment."""
    authenticator = Authenticator.objects.select_for_update().filter(pk=pk).first()
    if authenticator is None:
        return 0
    for name in SECRETS:
        if name in authenticator.data:
            authenticator.data[name] = encryption.encrypt_anew(authenticator.data[name])
    authenticator.save(update_fields=["data"])
    return 1
