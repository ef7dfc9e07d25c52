"""A service key made on the command line works, and stands nowhere but on standard output."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from accounts import service_keys
from accounts.models import ServiceKey

pytestmark = pytest.mark.django_db


def test_the_printed_key_is_a_key():
    output = StringIO()
    call_command("create_service_key", name="gateway", stdout=output)
    assert service_keys.find(key_text=output.getvalue().strip()) == ServiceKey.objects.get(name="gateway")


@pytest.mark.parametrize("name", ["", "  ", "n" * 81])
def test_a_key_has_a_name_that_fits(name: str):
    with pytest.raises(CommandError, match="1 to 80"):
        call_command("create_service_key", name=name)
    assert not ServiceKey.objects.exists()


def test_a_key_may_do_what_it_is_told_to_and_everything_otherwise():
    output = StringIO()
    call_command("create_service_key", "--name", "reader", "--scope", "read", "--scope", "keys", stdout=output)
    call_command("create_service_key", "--name", "all", stdout=output)
    scopes = dict(ServiceKey.objects.values_list("name", "scopes"))
    assert scopes == {"reader": ["keys", "read"], "all": ["keys", "meter", "read"]}
    with pytest.raises(CommandError):
        call_command("create_service_key", "--name", "x", "--scope", "root")
