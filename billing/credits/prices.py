"""The price list: what may be published, and the list the product ships with.

A version is never edited. Publishing a new one ends the one before at the new one's start, which may lie in the
future; what was charged before keeps its version.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from django.db import connection, transaction
from django.http import HttpRequest

from accounts import audit
from accounts.models import User
from billing.errors import Refused
from billing.models import Price, PricedModel, PriceVersion
from billing.money import NANO_PER_CENT, NANO_PER_USD

PRICE_NANO_PER_MILLION_MAX = 10**14
REASON_LENGTH_MIN = 10
REASON_LENGTH_MAX = 500


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """A model's prices in nano-USD for a million units, by token class."""

    slug: str
    name: str
    prices_nano_per_million: Mapping[str, int]


def _per_million(slug: str, name: str, *, input_cents: int, output_cents: int) -> ModelPrices:
    """Prices in the usual proportions: a cache write costs 1.25 times the input, a cache read a tenth of it."""
    return ModelPrices(
        slug=slug,
        name=name,
        prices_nano_per_million=MappingProxyType(
            {
                "input": input_cents * NANO_PER_CENT,
                "output": output_cents * NANO_PER_CENT,
                "cache_write": input_cents * NANO_PER_CENT * 5 // 4,
                "cache_read": input_cents * NANO_PER_CENT // 10,
            }
        ),
    )


SHIPPED = (
    _per_million("orion-small", "Orion Small", input_cents=80, output_cents=400),
    _per_million("orion-medium", "Orion Medium", input_cents=3 * 100, output_cents=15 * 100),
    _per_million("orion-large", "Orion Large", input_cents=15 * 100, output_cents=75 * 100),
)


def publish(
    *, prices: ModelPrices, effective_at: datetime, actor_id: int | None = None, reason: str = ""
) -> PriceVersion:
    """Publish a version of a model's prices from ``effective_at`` on; the model is added if it is new.

    Raises:
        Refused: no prices, a price out of bounds, or a start that is not after the newest version's start.
    """
    _check(prices)
    with transaction.atomic():
        model, _ = PricedModel.objects.get_or_create(slug=prices.slug, defaults={"name": prices.name})
        model = PricedModel.objects.select_for_update().get(pk=model.pk)
        last = newest(model=model)
        if last is not None:
            _end(last, at=effective_at)
        version = PriceVersion.objects.create(
            priced_model=model, effective_at=effective_at, actor_id=actor_id, reason=reason
        )
        Price.objects.bulk_create(
            Price(version=version, token_class=token_class, price_nano_per_million=price)
            for token_class, price in prices.prices_nano_per_million.items()
        )
    return version


def announce(
    *,
    model: PricedModel,
    prices_nano_per_million: Mapping[str, int],
    effective_at: datetime,
    reason: str,
    actor: User,
    at: datetime,
    request: HttpRequest | None = None,
) -> PriceVersion:
    """Publish a new version by somebody of the staff: with a reason, audited, and never for the past.

    Announcing the same start twice is refused, so a form that is sent twice publishes once.

    Raises:
        Refused: as :func:`check`.
    """
    prices = ModelPrices(model.slug, model.name, prices_nano_per_million)
    with transaction.atomic():
        check(
            model=model,
            prices_nano_per_million=prices_nano_per_million,
            effective_at=effective_at,
            reason=reason,
            at=at,
        )
        version = publish(prices=prices, effective_at=effective_at, actor_id=actor.pk, reason=reason)
        audit.record(
            organization=None,
            actor=actor,
            action="prices.published",
            target=f"price_version:{version.pk}",
            after={
                "model": model.slug,
                "effective_at": effective_at.isoformat(),
                "prices_nano_per_million": dict(prices_nano_per_million),
            },
            request=request,
        )
    return version


def check(
    *, model: PricedModel, prices_nano_per_million: Mapping[str, int], effective_at: datetime, reason: str, at: datetime
) -> None:
    """Refuse what may not be announced, so that a form can say so before anything is confirmed.

    Raises:
        Refused: as :func:`publish`, a start before ``at`` (``effective_at``) or no reason (``reason``).
    """
    if effective_at < at:
        raise Refused("A version can't start in the past: what was charged keeps its price.", field="effective_at")
    if not REASON_LENGTH_MIN <= len(reason.strip()) <= REASON_LENGTH_MAX:
        raise Refused(f"Say why, in {REASON_LENGTH_MIN} to {REASON_LENGTH_MAX} characters.", field="reason")
    _check(ModelPrices(model.slug, model.name, prices_nano_per_million))
    last = newest(model=model)
    if last is not None:
        _check_start(last, at=effective_at)


def newest(*, model: PricedModel) -> PriceVersion | None:
    """The version that a new one would end: in force, or still to come. Its prices are loaded."""
    return PriceVersion.objects.filter(priced_model=model).prefetch_related("prices").order_by("-effective_at").first()


def seed(*, effective_at: datetime) -> list[PriceVersion]:
    """Publish the shipped list for models that have no price yet; a second run changes nothing."""
    return [
        publish(prices=prices, effective_at=effective_at, reason="Shipped price list")
        for prices in SHIPPED
        if not PriceVersion.objects.filter(priced_model__slug=prices.slug).exists()
    ]


def in_force(*, at: datetime) -> list[ModelPrices]:
    """The price list at an instant, by name."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select m.slug, m.name, jsonb_object_agg(p.token_class, p.price_nano_per_million)"
            " from billing_pricedmodel m join billing_priceversion v on v.priced_model_id = m.id"
            " join billing_price p on p.version_id = v.id"
            " where v.effective_at <= %s and (v.superseded_at is null or v.superseded_at > %s)"
            " group by m.slug, m.name order by m.name",
            [at, at],
        )
        rows = cursor.fetchall()
    return [ModelPrices(slug, name, _mapping(prices)) for slug, name, prices in rows]


def _mapping(prices: object) -> Mapping[str, int]:
    loaded = json.loads(prices) if isinstance(prices, str) else prices
    assert isinstance(loaded, dict)
    return MappingProxyType({str(token_class): int(price) for token_class, price in loaded.items()})


def _check(prices: ModelPrices) -> None:
    if not prices.prices_nano_per_million:
        raise Refused("Give at least one price.", field="prices")
    for token_class, price in prices.prices_nano_per_million.items():
        if type(price) is not int or not 0 <= price <= PRICE_NANO_PER_MILLION_MAX:
            raise Refused(
                f"The price of {token_class} must be from $0 to "
                f"${PRICE_NANO_PER_MILLION_MAX // NANO_PER_USD:,} a million.",
                field=token_class,
            )


def _check_start(last: PriceVersion, *, at: datetime) -> None:
    if last.effective_at >= at:
        raise Refused(
            f"It must start after the newest version, which starts at {last.effective_at:%Y-%m-%d %H:%M} UTC.",
            field="effective_at",
        )
    if last.superseded_at is not None and last.superseded_at > at:
        raise Refused("The newest version ends later than this one would start.", field="effective_at")


def _end(last: PriceVersion, *, at: datetime) -> None:
    _check_start(last, at=at)
    if last.superseded_at is None:
        last.superseded_at = at
        last.save(update_fields=["superseded_at"])
