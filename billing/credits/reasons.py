"""What staff say when they move credit or change prices: a label that the customer reads, a reason for staff."""

from typing import Final

from billing.errors import Refused

LABEL_LENGTH_MAX: Final = 80
REASON_LENGTH_MIN: Final = 10
REASON_LENGTH_MAX: Final = 500


def check_label(label: str) -> None:
    """Refuse a label that is no line of text.

    Raises:
        Refused: with the field ``label``.
    """
    if not 0 < len(label.strip()) <= LABEL_LENGTH_MAX or not label.isprintable():
        raise Refused(
            f"Write one line of at most {LABEL_LENGTH_MAX} characters for the customer.", code="label", field="label"
        )


def check_reason(reason: str) -> None:
    """Refuse a reason that says nothing, or that no text column holds.

    Raises:
        Refused: with the field ``reason``.
    """
    if not REASON_LENGTH_MIN <= len(reason.strip()) <= REASON_LENGTH_MAX or "\x00" in reason:
        raise Refused(
            f"Say why, in {REASON_LENGTH_MIN} to {REASON_LENGTH_MAX} characters.", code="reason", field="reason"
        )
