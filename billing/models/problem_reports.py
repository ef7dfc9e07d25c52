"""What customers report about a charge, with the facts of that moment."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class ProblemReport(models.Model):
    """A problem with one purchase: what the customer wrote, how things stood then, and what staff answered.

    ``facts`` are what this console knew when it was reported. They are never edited: later events change the purchase,
    and nobody could tell any more what the customer saw.
    """

    class Category(models.TextChoices):
        NOT_MADE = "not_made", "I did not make this charge"
        TWICE = "twice", "I was charged twice"
        AMOUNT = "amount", "The amount is wrong"
        CREDITS = "credits", "The credits are missing or wrong"
        DECLINED = "declined", "It was declined and should not have been"
        OTHER = "other", "Something else"

    class State(models.TextChoices):
        OPEN = "open", "Open"
        ANSWERED = "answered", "Answered"
        CLOSED = "closed", "Closed"

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="problem_reports")
    purchase = models.ForeignKey("billing.Purchase", models.PROTECT, related_name="problem_reports")
    report_key = models.UUIDField(help_text="Made when the form was rendered: one key, one report.")
    actor = models.ForeignKey("accounts.User", models.PROTECT, related_name="+")
    category = models.CharField(max_length=12, choices=Category.choices)
    text = models.TextField(max_length=4_000)
    facts = models.JSONField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    answer = models.TextField(max_length=4_000, blank=True, default="", help_text="What the customer reads.")
    handled_by = models.ForeignKey("accounts.User", models.PROTECT, null=True, related_name="+")
    handled_at = models.DateTimeField(null=True)
    reported_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "report_key"], name="problem_report_key_once"),
            models.CheckConstraint(condition=Q(state__in=["open", "answered", "closed"]), name="problem_report_state"),
            models.CheckConstraint(
                condition=Q(state="open", handled_at__isnull=True)
                | Q(handled_at__isnull=False, handled_by__isnull=False),
                name="problem_report_handled",
            ),
            models.CheckConstraint(condition=~Q(text=""), name="problem_report_told"),
        ]
        indexes = [
            models.Index(fields=["reported_at"], condition=Q(state="open"), name="problem_report_open"),
            models.Index(fields=["organization", "-reported_at"], name="problem_report_newest"),
        ]

    def __str__(self) -> str:
        return f"Report {self.pk}"
