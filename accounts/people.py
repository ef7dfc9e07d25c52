"""What a person says about themselves."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest

from accounts import audit
from accounts.models import User


def rename(*, user: User, name: str, request: HttpRequest | None = None) -> None:
    """Give the person another name; the same name changes nothing. History keeps that it changed, never the name."""
    with transaction.atomic():
        if User.objects.filter(pk=user.pk).exclude(name=name).update(name=name):
            audit.record(
                organization=None, actor=user, action="user.renamed", target=f"user:{user.pk}", request=request
            )
    user.name = name
