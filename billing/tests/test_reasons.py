"""Labels for customers and reasons for staff: what is taken, to the character, and what is refused at its field."""

import pytest

from billing.credits.reasons import check_label, check_reason
from billing.errors import Refused


@pytest.mark.parametrize("reason", ["r" * 10, "r" * 500, f"  {'r' * 10}  ", f" {'r' * 500}\n", "two\nlines of it"])
def test_a_reason_of_ten_to_five_hundred_characters_is_taken(reason):
    check_reason(reason)


@pytest.mark.parametrize("reason", ["", "r" * 9, f"{'r' * 9}   ", " " * 20, "r" * 501, "a reason\x00with a nul"])
def test_another_reason_is_refused_at_its_field(reason):
    with pytest.raises(Refused, match="Say why, in 10 to 500 characters") as refusal:
        check_reason(reason)
    assert (refusal.value.field, refusal.value.code) == ("reason", "reason")


@pytest.mark.parametrize("label", ["l", "l" * 80, f"  {'l' * 80}  ", "Für Sie: 10 %"])
def test_a_line_of_up_to_eighty_characters_is_a_label(label):
    check_label(label)


@pytest.mark.parametrize("label", ["", "   ", "l" * 81, "two\nlines", "nul\x00"])
def test_another_label_is_refused_at_its_field(label):
    with pytest.raises(Refused, match="at most 80 characters for the customer") as refusal:
        check_label(label)
    assert (refusal.value.field, refusal.value.code) == ("label", "label")
