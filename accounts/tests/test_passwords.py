"""Which passwords are refused because everybody here would try them first."""

import pytest
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from accounts.passwords import ContextWordValidator


@pytest.mark.parametrize("text", ["CreditConsole", "credit-console-26", "BillingBilling1!", "consoleconsoleconsole"])
def test_a_password_of_the_products_own_words_is_refused(text):
    with pytest.raises(ValidationError) as refusal:
        validate_password(text)
    assert "password_context_words" in {error.code for error in refusal.value.error_list}


@pytest.mark.parametrize("text", ["correct horse battery", "my credit to Herr Mozart", "x" * 300])
def test_one_with_enough_else_is_taken(text):
    validate_password(text)


def test_without_words_nothing_is_refused():
    ContextWordValidator(words=["", ""]).validate("anything")
