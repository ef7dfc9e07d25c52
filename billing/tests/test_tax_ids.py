"""Tax IDs: each country's shape and check digits, one way of writing them, and words that help."""

import pytest

from billing import tax_ids


@pytest.mark.parametrize("country", tax_ids.RULES)
def test_the_example_of_each_country_is_one_and_is_printed_the_same_however_it_is_typed(country):
    printed = tax_ids.check(tax_ids.RULES[country].example, country=country)
    assert tax_ids.check(f" {printed.lower()} ", country=country) == printed


# Countries that have a public check digit: one digit changed is noticed.
@pytest.mark.parametrize(
    ("country", "wrong"),
    [
        ("DE", "DE136695975"),
        ("FR", "FR41303265045"),
        ("IT", "IT00743110158"),
        ("ES", "ESB58378432"),
        ("NL", "NL004495446B01"),
        ("PL", "PL8567346216"),
        ("GB", "GB980780685"),
        ("CH", "CHE-107.787.578 MWST"),
        ("NO", "NO995525829MVA"),
        ("AU", "83 914 571 674"),
        ("CA", "123026636RC0001"),
        ("IN", "27AAPFU0939F1ZW"),
        ("US", "00-1144442"),
    ],
)
def test_a_typing_error_is_noticed_and_told_with_an_example(country, wrong):
    with pytest.raises(tax_ids.NotATaxId, match="One looks like"):
        tax_ids.check(wrong, country=country)


def test_the_letters_of_the_country_may_be_left_out_and_are_printed():
    assert tax_ids.check("136695976", country="DE") == "DE136695976"
    assert tax_ids.check("094259216", country="GR") == "EL094259216"
    assert tax_ids.check("XI980780684", country="GB") == "XI980780684"


def test_another_countrys_number_is_not_taken():
    with pytest.raises(tax_ids.NotATaxId, match="no VAT number of Germany"):
        tax_ids.check("ATU13585627", country="DE")


def test_a_country_without_a_public_rule_takes_any_plausible_text():
    assert tax_ids.check("100123456700003", country="AE") == "100123456700003"
    for text in ("no digits", "<b>1</b>", "1" * 40, "１２３４"):
        with pytest.raises(tax_ids.NotATaxId):
            tax_ids.check(text, country="AE")


@pytest.mark.parametrize("text", ["", "\x00", "DE", "-" * 32, "１３６６９５９７６", "9" * 32, "DE" * 16, "'; drop"])
@pytest.mark.parametrize("country", tax_ids.RULES)
def test_whatever_is_typed_it_is_refused_in_words(country, text):
    with pytest.raises(tax_ids.NotATaxId):
        tax_ids.check(text, country=country)
