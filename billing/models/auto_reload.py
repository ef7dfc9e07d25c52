"""Auto-reload: what an organization agreed to, every version of that consent, and the states it can be in."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class ReloadState(models.TextChoices):
    """How auto-reload stands, in words. Not a column: ``reload_rules.standing`` derives it, for page, mail and staff.

    ``COOLING_DOWN`` waits by itself until an instant that is known. Whatever is paused, capped or in need of somebody
    charges nothing until that has changed.
    """

    OFF = "off", "Off"
    ARMED = "armed", "Armed"
    CHARGING = "charging", "Charging"
    COOLING_DOWN = "cooling_down", "Cooling down"
    PAUSED_DECLINED = "paused_declined", "Paused: declined"
    PAUSED_BRAKE = "paused_brake", "Paused: brake"
    PAUSED_DISPUTE = "paused_dispute", "Paused: dispute"
    CAPPED = "capped", "Capped"
    NEEDS_YOU = "needs_you", "Needs you"
    NO_CARD = "no_card", "No card"
    NO_RECIPIENT = "no_recipient", "Paused: nobody to tell"
    FROZEN = "frozen", "Account frozen"


class AutoReload(models.Model):
    """The settings in force. Off until somebody switches it on; a purchase never changes them."""

    class Suspension(models.TextChoices):
        NONE = "", "Not suspended"
        DECLINED = "declined", "Declined charges"
        BRAKE = "brake", "Usage far above the usual"
        DISPUTED = "disputed", "A disputed charge"

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
    brake_used_nano = models.BigIntegerField(null=True, help_text="What 24 hours had used when the brake paused it.")
    brake_usual_nano = models.BigIntegerField(null=True, help_text="What a usual day was held to be then.")
    brake_usual_is_known = models.BooleanField(
        default=True, help_text="Whether that rests on enough days of use; if not, it is one full reload."
    )
    brake_allowed_until = models.DateTimeField(
        null=True, help_text="Until then the brake lets reloads pass, because somebody has confirmed the usage."
    )
    capped_at = models.DateTimeField(
        null=True, help_text="When a reload that was due was last skipped because of the monthly limit."
    )
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(minimum_cents__gte=0) & Q(target_cents__gt=F("minimum_cents")), name="reload_target_above"
            ),
            models.CheckConstraint(condition=Q(monthly_cap_cents__gt=0), name="reload_cap_positive"),
            models.CheckConstraint(
                condition=Q(suspension__in=["", "declined", "brake", "disputed"]), name="reload_suspension_known"
            ),
            models.CheckConstraint(
                condition=Q(suspension="", suspended_at__isnull=True)
                | (~Q(suspension="") & Q(suspended_at__isnull=False)),
                name="reload_suspended_since",
            ),
            models.CheckConstraint(
                condition=~Q(suspension="brake") | Q(brake_used_nano__gt=0, brake_usual_nano__gt=0),
                name="reload_brake_measured",
            ),
        ]

    def __str__(self) -> str:
        return f"Auto-reload of organization {self.organization_id}"


class AutoReloadConsent(models.Model):
    """Who agreed to which sentence, and when: one saving of the form, or one confirmation. Append-only.

    The database refuses change and removal to everybody, the owner of the table included.
    """

    class Kind(models.TextChoices):
        SAVED = "saved", "Settings saved"
        RENEWED = "renewed", "Consent renewed"
        USAGE_CONFIRMED = "usage_confirmed", "Usage confirmed"

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="auto_reload_consents")
    actor = models.ForeignKey("accounts.User", models.PROTECT, related_name="+")
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.SAVED)
    is_enabled = models.BooleanField()
    minimum_cents = models.BigIntegerField()
    target_cents = models.BigIntegerField()
    monthly_cap_cents = models.BigIntegerField()
    consent_version = models.CharField(max_length=32)
    consent_text = models.TextField(help_text="The sentence as it was shown.")
    consented_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind__in=["saved", "renewed", "usage_confirmed"]), name="reload_consent_kind_known"
            ),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="reload_consent_newest")]

    def __str__(self) -> str:
        return f"Auto-reload consent {self.pk}"
