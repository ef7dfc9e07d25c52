"""The price list: what may be published, and the list the product ships with.

A version is never edited. Publishing a new one ends the one before at the new one's start, which may lie in the
future; what was charged before keeps its version.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from django.db import connection, transaction
from django.http import HttpRequest

from accounts import audit
from accounts.models import User
from billing.credits import reasons
from billing.errors import Refused
from billing.models import Price, PricedModel, PriceVersion, TokenClass
from billing.money import NANO_PER_CENT, NANO_PER_USD, UNITS_PER_PRICE, plain_usd

PRICE_NANO_PER_MILLION_MAX = 10**14


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """A model's prices in nano-USD for a million units, by token class."""

    slug: str
    name: str
    prices_nano_per_million: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CostLine:
    """What one token class of a request cost. ``amount_nano`` is its share of the amount that was charged.

    A charge is rounded up once, over all its classes. The shares add up to it exactly, because each is the difference
    of two sums that are rounded in the same way.
    """

    token_class: str
    units: int
    price_nano_per_million: int
    amount_nano: int


def _listed(slug: str, name: str, *, input_cents: int, output_cents: int, request_nano: int = 0) -> ModelPrices:
    """Prices in the usual proportions.

    A cache write costs 1.25 times the input (2 times when it is kept for an hour), a cache read a tenth of it. A batch
    costs half. Of a long context, whatever goes in costs twice as much, and the output 1.5 times.
    """
    input_nano, output_nano = input_cents * NANO_PER_CENT, output_cents * NANO_PER_CENT
    prices = {
        TokenClass.INPUT: input_nano,
        TokenClass.OUTPUT: output_nano,
        TokenClass.CACHE_WRITE: input_nano * 5 // 4,
        TokenClass.CACHE_WRITE_1H: input_nano * 2,
        TokenClass.CACHE_READ: input_nano // 10,
        TokenClass.INPUT_BATCH: input_nano // 2,
        TokenClass.OUTPUT_BATCH: output_nano // 2,
        TokenClass.INPUT_LONG: input_nano * 2,
        TokenClass.OUTPUT_LONG: output_nano * 3 // 2,
        TokenClass.CACHE_WRITE_LONG: input_nano * 5 // 2,
        TokenClass.CACHE_READ_LONG: input_nano // 5,
    }
    if request_nano:
        prices[TokenClass.REQUEST] = request_nano * UNITS_PER_PRICE
    return ModelPrices(slug, name, MappingProxyType({str(name): price for name, price in prices.items()}))


SHIPPED = (
    _listed("orion-small", "Orion Small", input_cents=80, output_cents=400),
    _listed("orion-medium", "Orion Medium", input_cents=3 * 100, output_cents=15 * 100),
    _listed("orion-large", "Orion Large", input_cents=15 * 100, output_cents=75 * 100),
    # Each request is a search too, at $10 a thousand.
    _listed("orion-search", "Orion Search", input_cents=3 * 100, output_cents=15 * 100, request_nano=NANO_PER_CENT),
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
            priced_model=model,
            effective_at=effective_at,
            rates=dict(prices.prices_nano_per_million),
            actor_id=actor_id,
            reason=reason,
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
    reasons.check_reason(reason)
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


def rates_of(version: PriceVersion) -> dict[str, int]:
    """A version's prices, by token class."""
    return {price.token_class: price.price_nano_per_million for price in version.prices.all()}


def cost_lines(*, rates: Mapping[str, int], quantities: Mapping[str, int]) -> list[CostLine]:
    """What quantities cost at rates, class by class and with the fee of the request; the shares sum to the charge.

    Raises:
        Refused: a class that was used has no rate (``price_missing``); the field names it.
    """
    used = {**quantities, **({str(TokenClass.REQUEST): 1} if TokenClass.REQUEST in rates else {})}
    lines: list[CostLine] = []
    sum_before = 0
    for token_class in in_order(used):
        units = used[token_class]
        if token_class not in rates:
            if units:
                raise Refused(f"There is no price for {token_class}.", code="price_missing", field=token_class)
            continue
        sum_after = sum_before + units * rates[token_class]
        amount_nano = _rounded_up(sum_after) - _rounded_up(sum_before)
        lines.append(CostLine(token_class, units, rates[token_class], amount_nano))
        sum_before = sum_after
    return lines


def cost_nano(*, rates: Mapping[str, int], quantities: Mapping[str, int]) -> int:
    """What quantities cost at rates, as a charge would.

    Raises:
        Refused: a class that was used has no rate (``price_missing``); the field names it.
    """
    return sum(line.amount_nano for line in cost_lines(rates=rates, quantities=quantities))


def price_text(token_class: str, price_nano_per_million: int) -> str:
    """A price as people read it: dollars for a million units, the fee of a request in dollars for one."""
    if token_class == TokenClass.REQUEST:
        return f"${plain_usd(price_nano_per_million // UNITS_PER_PRICE)} each"
    return f"${plain_usd(price_nano_per_million)}"


def in_order(token_classes: Iterable[str]) -> list[str]:
    """Token classes as the price list shows them: the known ones in their order, then the others by name."""
    known = TokenClass.values
    return sorted(token_classes, key=lambda name: (known.index(name) if name in known else len(known), name))


def _rounded_up(sum_: int) -> int:
    return -(-sum_ // UNITS_PER_PRICE)


def _mapping(prices: object) -> Mapping[str, int]:
    loaded = json.loads(prices) if isinstance(prices, str) else prices
    assert isinstance(loaded, dict)
    return MappingProxyType({str(token_class): int(price) for token_class, price in loaded.items()})


def _check(prices: ModelPrices) -> None:
    if not prices.prices_nano_per_million:
        raise Refused("Give at least one price.", field="prices")
    for token_class, price in prices.prices_nano_per_million.items():
        if type(price) is not int or not 0 <= price <= PRICE_NANO_PER_MILLION_MAX:
            most = (
                f"${plain_usd(PRICE_NANO_PER_MILLION_MAX // UNITS_PER_PRICE)} a request"
                if token_class == TokenClass.REQUEST
                else f"${PRICE_NANO_PER_MILLION_MAX // NANO_PER_USD:,} a million"
            )
            raise Refused(f"The price of {token_class} must be from $0 to {most}.", field=token_class)
        if token_class == TokenClass.REQUEST and price % UNITS_PER_PRICE:
            raise Refused("The fee of a request is at least a billionth of a dollar, or 0.", field=token_class)


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
