"""Auto-reload: what an organization agreed to, and every version of that consent."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class AutoReload(models.Model):
    """The settings in force. Off until somebody switches it on; a purchase never changes them."""

    class Suspension(models.TextChoices):
        NONE = "", "Not suspended"
        DECLINED = "declined", "Declined charges"

    organization = models.OneToOneField("accounts.Organization", models.PROTECT, related_name="auto_reload")
    is_enabled = models.BooleanField(default=False)
    minimum_cents = models.BigIntegerField(help_text="The line: a reload is due when credit falls below it.")
    target_cents = models.BigIntegerField(help_text="The amount to reload to, not an increment.")
    monthly_cap_cents = models.BigIntegerField(help_text="The most that reloads may charge in a calendar month (UTC).")
    declines = models.PositiveSmallIntegerField(default=0, help_text="Declined charges since the last success.")
    suspension = models.CharField(max_length=10, choices=Suspension.choices, blank=True, default=Suspension.NONE)
    suspended_at = models.DateTimeField(null=True)
    suspended_fingerprint = models.CharField(max_length=255, blank=True, default="")
    next_attempt_at = models.DateTimeField(null=True, help_text="No attempt before this instant, after a decline.")
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(minimum_cents__gte=0) & Q(target_cents__gt=F("minimum_cents")), name="reload_target_above"
            ),
            models.CheckConstraint(condition=Q(monthly_cap_cents__gt=0), name="reload_cap_positive"),
        ]

    def __str__(self) -> str:
        return f"Auto-reload of organization {self.organization_id}"


class AutoReloadConsent(models.Model):
    """One saving of the form: who agreed to which sentence, and when. Append-only."""

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="auto_reload_consents")
    actor = models.ForeignKey("accounts.User", models.PROTECT, related_name="+")
    is_enabled = models.BooleanField()
    minimum_cents = models.BigIntegerField()
    target_cents = models.BigIntegerField()
    monthly_cap_cents = models.BigIntegerField()
    consent_version = models.CharField(max_length=32)
    consent_text = models.TextField(help_text="The sentence as it was shown.")
    consented_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["organization", "-id"], name="reload_consent_newest")]

    def __str__(self) -> str:
        return f"Auto-reload consent {self.pk}"
