"""A customer of the platform: the owner of credits, members and everything else behind ``/o/<slug>/``."""

from __future__ import annotations

from typing import ClassVar
from zoneinfo import ZoneInfo, available_timezones

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Now


class Organization(models.Model):
    name = models.CharField(max_length=120)
    slug = models.SlugField(max_length=60, unique=True)
    time_zone = models.CharField(
        max_length=64,
        default="UTC",
        help_text="Dates and times are shown in this zone, with UTC beside them.",
    )
    requires_second_factor = models.BooleanField(
        "requires a second factor", default=False, help_text="Of everyone who is Admin or Billing here."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    closed_at = models.DateTimeField(null=True, editable=False, help_text="Closed by an Admin, for good.")

    class Meta:
        ordering: ClassVar = ["name", "id"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.time_zone not in available_timezones():
            raise ValidationError({"time_zone": f"{self.time_zone} is not the name of a time zone."}, code="time_zone")

    @property
    def is_closed(self) -> bool:
        """Whether an Admin has closed it: Admins and Billing read what is kept, and nothing changes any more."""
        return self.closed_at is not None

    @property
    def zone(self) -> ZoneInfo:
        """The organization's time zone, for showing times; storage and rules stay in UTC."""
        return ZoneInfo(self.time_zone)
