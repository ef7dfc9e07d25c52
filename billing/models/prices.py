"""What usage costs: models, versions of their prices that can't overlap, and a price for each token class."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeBoundary, RangeOperators
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Now


class TokenClass(models.TextChoices):
    """The classes that the shipped price list uses. A price may name others: classes are data.

    ``request`` is the fee of each request, which the price list adds by itself; nobody reports it.
    """

    INPUT = "input", "Input"
    OUTPUT = "output", "Output"
    CACHE_WRITE = "cache_write", "Cache write"
    CACHE_WRITE_1H = "cache_write_1h", "Cache write, one hour"
    CACHE_READ = "cache_read", "Cache read"
    INPUT_BATCH = "input_batch", "Input, batch"
    OUTPUT_BATCH = "output_batch", "Output, batch"
    INPUT_LONG = "input_long", "Input, long context"
    OUTPUT_LONG = "output_long", "Output, long context"
    CACHE_WRITE_LONG = "cache_write_long", "Cache write, long context"
    CACHE_READ_LONG = "cache_read_long", "Cache read, long context"
    REQUEST = "request", "Fee of each request"


class Surface(models.TextChoices):
    """Where usage came from. All are charged from the same credits."""

    API = "api", "API"
    WORKBENCH = "workbench", "Workbench"
    CLAUDE_CODE = "claude_code", "Claude Code"


class PricedModel(models.Model):
    """A model that can be used and is priced."""

    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=80)

    def __str__(self) -> str:
        return self.name


def _usual_rate(token_class: TokenClass) -> models.GeneratedField:
    """A rate as a column of its own, which the database keeps (``usual_rate`` in ``checks.sql``)."""
    return models.GeneratedField(
        expression=Func("rates", Value(token_class.value), function="usual_rate"),
        output_field=models.BigIntegerField(null=True),
        db_persist=True,
    )


class PriceVersion(models.Model):
    """The prices of one model in ``[effective_at, superseded_at)``. Never edited; a new version ends the one before."""

    priced_model = models.ForeignKey(PricedModel, models.PROTECT, related_name="versions", db_index=False)
    effective_at = models.DateTimeField()
    superseded_at = models.DateTimeField(null=True, blank=True)
    rates = models.JSONField(
        default=dict, help_text="The version's prices by token class, beside their rows: what a charge reads."
    )
    # What usual charges read. A number is multiplied at once; one inside of JSON is looked for and converted first.
    input_nano_per_million = _usual_rate(TokenClass.INPUT)
    output_nano_per_million = _usual_rate(TokenClass.OUTPUT)
    cache_write_nano_per_million = _usual_rate(TokenClass.CACHE_WRITE)
    cache_read_nano_per_million = _usual_rate(TokenClass.CACHE_READ)
    request_nano_per_million = _usual_rate(TokenClass.REQUEST)
    created_at = models.DateTimeField(db_default=Now())
    actor_id = models.BigIntegerField(null=True)
    reason = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        constraints = [
            ExclusionConstraint(
                name="price_versions_do_not_overlap",
                expressions=[
                    (F("priced_model"), RangeOperators.EQUAL),
                    (
                        # No class of its own, which the migration would have to import.
                        Func(
                            "effective_at",
                            "superseded_at",
                            RangeBoundary(),
                            function="TSTZRANGE",
                            output_field=DateTimeRangeField(),
                        ),
                        RangeOperators.OVERLAPS,
                    ),
                ],
            ),
            models.CheckConstraint(
                condition=Q(superseded_at__isnull=True) | Q(superseded_at__gt=F("effective_at")),
                name="price_version_ends_after_start",
            ),
        ]
        indexes = [models.Index(fields=["priced_model", "-effective_at"], name="price_version_newest")]

    def __str__(self) -> str:
        return f"Prices of {self.priced_model} from {self.effective_at:%Y-%m-%d %H:%M} UTC"


class Price(models.Model):
    """Nano-USD for a million units of one token class. Zero is a price; a class without a row has none."""

    version = models.ForeignKey(PriceVersion, models.PROTECT, related_name="prices", db_index=False)
    token_class = models.SlugField(max_length=32, db_index=False)
    price_nano_per_million = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["version", "token_class"], name="price_once_per_class"),
            models.CheckConstraint(
                condition=Q(price_nano_per_million__gte=0) & Q(price_nano_per_million__lte=10**14),
                name="price_bounds",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.token_class}: {self.price_nano_per_million} nano-USD per million"
