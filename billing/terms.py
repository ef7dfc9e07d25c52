"""The texts that customers agree to, each with a version that is stored with the agreement.

A changed text gets a new version. What somebody agreed to earlier keeps its own: nothing here is edited in place.
"""

from dataclasses import dataclass

from billing.money import cents_up_from_nano, dollars_text


@dataclass(frozen=True, slots=True)
class Terms:
    """A text, its version and its paragraphs, in plain words."""

    version: str
    title: str
    paragraphs: tuple[str, ...]


CREDIT_TERMS = Terms(
    version="2026-09-01",
    title="Credit Terms",
    paragraphs=(
        "Credits are bought before they are used. They can be used as soon as the payment has succeeded.",
        "Usage burns credits at the price list in force when a request starts. A request that fails costs nothing.",
        "Credits expire one year after the purchase, at the same time of day in UTC. Credits bought on 29 "
        "February expire on 28 February. What is left of them then is lost.",
        "The credits that expire first are used first.",
        "Credits are not refunded, can't be turned back into money and can't be passed on to another organization.",
        "With no credits left, requests are refused until credits are bought again. A request that was already "
        "running may cost more than the credits that were left; the next purchase pays the difference first.",
    ),
)

CARD_CONSENT = Terms(
    version="2026-09-01",
    title="Saving a card",
    paragraphs=(
        "The card is saved with our payment processor and used for the credits that you buy here. It is charged "
        "without you only when auto-reload is switched on, and then only as its settings say. You can replace "
        "the card at any time.",
    ),
)

RELOAD_CONSENT = Terms(
    version="2026-11-25",
    title="Auto-reload",
    paragraphs=(
        "Auto-reload buys credits with the saved card, without asking again, whenever credit falls below the "
        "line that you set. A request that is refused for lack of credits counts as below the line too.",
        "It charges what is missing to the amount that you reload to, at most five times in 24 hours, and never "
        "more in a calendar month (UTC) than the monthly limit that you set.",
        "When usage is far above the usual it pauses and asks you first. After declined charges, and after a "
        "dispute, it pauses and tells you. You can switch it off at any time, with effect at "
        "once. Credits bought by auto-reload fall under the Credit Terms: they expire after one year and are "
        "not refunded.",
    ),
)


def reload_sentence(*, minimum_cents: int, target_cents: int, monthly_cap_cents: int, card: str) -> str:
    """What switching auto-reload on with these numbers means, in one paragraph. Stored with the consent as shown.

    ``card`` is the card as people write it ("Visa ending in 4242").
    """
    return (
        f"When credit falls below {dollars_text(minimum_cents)}, or a request is refused for lack of credits, "
        f"charge {card} to bring it back to {dollars_text(target_cents)}: at most five times in 24 hours and at "
        f"most {dollars_text(monthly_cap_cents)} in a calendar month (UTC), until I switch it off. When usage is far "
        "above the usual, ask me first. Credits expire after one year and are not refunded."
    )


def reload_off_sentence(*, minimum_cents: int, target_cents: int, monthly_cap_cents: int) -> str:
    """What switching auto-reload off means, in one paragraph. Stored like an agreement."""
    return (
        f"Auto-reload is off: no charge comes by itself. The amounts are kept: below {dollars_text(minimum_cents)}, "
        f"back to {dollars_text(target_cents)}, at most {dollars_text(monthly_cap_cents)} in a calendar month (UTC)."
    )


def usage_confirmation(
    *,
    used_nano: int,
    usual_nano: int,
    times: str,
    is_known: bool,
    hours: int,
    minimum_cents: int,
    target_cents: int,
    monthly_cap_cents: int,
) -> str:
    """What confirming unusually high usage means, in one paragraph. Stored with the confirmation as shown.

    ``is_known`` is whether there is a usual day to compare with; if not, ``usual_nano`` is one full reload.
    """
    usual = f"{'the usual day' if is_known else 'one full reload'} ({dollars_text(cents_up_from_nano(usual_nano))})"
    return (
        f"Usage of 24 hours cost {dollars_text(cents_up_from_nano(used_nano))}, {times} times {usual}. This usage is "
        f"wanted. For the next {hours} hours, go on as agreed without asking: below {dollars_text(minimum_cents)}, "
        f"back to {dollars_text(target_cents)}, at most five times in 24 hours and at most "
        f"{dollars_text(monthly_cap_cents)} in a calendar month (UTC)."
    )
