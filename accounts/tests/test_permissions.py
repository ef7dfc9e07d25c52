"""What each role may do, written out a second time: the table must not change by accident."""

import pytest

from accounts.permissions import PERMISSIONS, Permission, Role, permissions_of, roles_with

EVERYTHING = set(Permission)
LIMITED_DEVELOPER = {"workbench.use", "claude_code.use", "keys.manage", "usage.view", "balance.view"}

EXPECTED = {
    "admin": EVERYTHING,
    "billing": {
        "billing.view",
        "balance.view",
        "credits.buy",
        "card.edit",
        "auto_reload.edit",
        "billing_details.edit",
        "usage.view",
        "workbench.use",
    },
    "developer": LIMITED_DEVELOPER | {"traces.view", "files.download"},
    "limited_developer": LIMITED_DEVELOPER,
    "claude_code_user": {"workbench.use", "claude_code.use"},
    "user": {"workbench.use"},
}


@pytest.mark.parametrize("role", EXPECTED)
def test_a_role_holds_exactly_its_permissions(role):
    assert permissions_of(role) == EXPECTED[role]


def test_every_role_has_a_row():
    assert set(PERMISSIONS) == set(Role) == set(EXPECTED)


def test_a_value_that_is_no_role_may_do_nothing():
    assert permissions_of("owner") == frozenset()


def test_only_admin_and_billing_touch_money():
    for permission in ("billing.view", "credits.buy", "card.edit", "auto_reload.edit", "billing_details.edit"):
        assert roles_with(Permission(permission)) == (Role.ADMIN, Role.BILLING)


def test_every_permission_has_words_for_people():
    assert all(permission.label for permission in Permission)


def test_the_table_cannot_be_changed_while_running():
    with pytest.raises(TypeError):
        PERMISSIONS["user"] = frozenset(Permission)  # type: ignore[index]
