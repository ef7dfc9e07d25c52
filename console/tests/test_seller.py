"""Receipts name the seller, or the deployment check says that they don't."""

from console import checks


def test_a_production_without_a_seller_is_warned(settings):
    settings.SELLER_NAME = "Example Platform Inc."
    settings.SELLER_ADDRESS = ""
    (warning,) = checks.receipts_name_the_seller()
    assert "SELLER_ADDRESS" in warning.msg
    settings.SELLER_ADDRESS = "1 Harbor Street"
    assert checks.receipts_name_the_seller() == []
