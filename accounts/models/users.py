"""A person who can log in. The e-mail address is the log-in name, and case never tells two people apart."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models.functions import Lower, Now


class LowercaseEmailField(models.EmailField):  # type: ignore[type-arg]  # It takes no arguments when it runs.
    """An e-mail field that compares and stores in lower case, so that a plain unique index also ignores case."""

    def to_python(self, value: Any) -> Any:
        value = super().to_python(value)
        return value.lower() if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return value.lower() if isinstance(value, str) else value

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        value = self.to_python(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, value)
        return value

    def deconstruct(self) -> Any:
        """Appear in migrations as a plain e-mail field: the column is the same, and history imports no live code."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.EmailField", args, kwargs


class UserManager(BaseUserManager["User"]):
    """Creates users together with the address record that log-in and password reset look at."""

    use_in_migrations = False

    def create_user(
        self,
        email: str,
        password: str | None = None,
        *,
        name: str = "",
        is_email_verified: bool = False,
        is_staff: bool = False,
        is_superuser: bool = False,
    ) -> User:
        """Create a user whose only address is ``email``; without a password the user can't log in by password.

        Raises ``ValueError`` for an empty address and ``IntegrityError`` for one that is taken in any case.
        """
        from allauth.account.models import EmailAddress  # allauth's models load after this one.
        from django.db import transaction

        if not email:
            raise ValueError("A user needs an e-mail address.")
        user = self.model(email=email.strip(), name=name, is_staff=is_staff, is_superuser=is_superuser)
        user.set_password(password)
        with transaction.atomic(using=self._db):
            user.save(using=self._db)
            EmailAddress.objects.using(self._db).create(
                user=user, email=user.email, verified=is_email_verified, primary=True
            )
        return user

    def create_superuser(self, email: str, password: str | None = None, *, name: str = "") -> User:
        """Create a staff user with every admin right, as ``createsuperuser`` asks for."""
        return self.create_user(email, password, name=name, is_email_verified=True, is_staff=True, is_superuser=True)

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=(username or "").lower())


class User(AbstractBaseUser, PermissionsMixin):
    email = LowercaseEmailField("e-mail address", unique=True, max_length=254)
    name = models.CharField(max_length=150, blank=True)
    is_staff = models.BooleanField("staff of the platform", default=False)
    is_active = models.BooleanField("may log in", default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects: ClassVar[UserManager] = UserManager()

    EMAIL_FIELD = "email"
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints: ClassVar = [
            # The field writes lower case; this refuses any other writer that doesn't, and so keeps `unique` case-blind.
            models.CheckConstraint(condition=models.Q(email=Lower("email")), name="user_email_lower_case"),
        ]

    def __str__(self) -> str:
        return str(self.email)

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return str(self.name or self.email).split(" ")[0]
