"""The Credit Terms are there for everybody, in the version that purchases name."""

import pytest
from django.test import Client

from billing.terms import CREDIT_TERMS
from billing.tests.pages import text_of


@pytest.mark.django_db
def test_everybody_can_read_the_terms_in_force():
    response = Client().get("/terms/credits/")
    assert response.status_code == 200
    text = text_of(response)
    assert CREDIT_TERMS.version in text
    for paragraph in CREDIT_TERMS.paragraphs:
        assert paragraph in text
