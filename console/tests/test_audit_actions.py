"""The list of actions: each has words, and no part of the product writes one that hasn't."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from accounts import api_keys
from accounts.audit_actions import ACTIONS, Group, UnknownAction, actions_in, check
from billing.credits import corrections
from billing.models import ProblemReport, Purchase, Refund

CHECKOUT = Path(__file__).resolve().parents[2]
SHAPE = re.compile(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*")
# Functions that write an event, and how they are told its action where that is no keyword.
WRITERS = {"record", "record_once", "record_own_change", "_record", "audit_own_change"}

# Actions that are made of a state: all that they can become.
MADE = {
    "billing/payments/purchases.py": {
        f"purchase.{state}"
        for state in ("requires_action", "needs_customer", Purchase.State.FAILED.value, Purchase.State.CANCELED.value)
    },
    "billing/payments/returns.py": {
        f"refund.{state.value}" for state in Refund.State if state is not Refund.State.CREATED
    },
    "billing/payments/problem_reports.py": {f"problem.{state.value}" for state in ProblemReport.State},
    "accounts/api_keys.py": {f"api_key.{done}" for done in api_keys._DONE},
    "billing/credits/usage_stops.py": {"usage.stopped", "usage.resumed"},
    "billing/credits/corrections.py": {f"credit_account.{done}" for done in corrections._DONE.values()},
}


def written(tree: ast.AST) -> Iterator[tuple[int, str | None]]:
    """Each action that is handed to a writer of events, with its line; None for one that is put together."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name not in WRITERS:
            continue
        values = [keyword.value for keyword in call.keywords if keyword.arg == "action"]
        values += [value for value in call.args if not isinstance(value, ast.Name | ast.Attribute)]
        for value in values:
            for node in (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,):
                if isinstance(node, ast.JoinedStr):
                    yield node.lineno, None
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and SHAPE.fullmatch(node.value):
                    yield node.lineno, node.value


def sources() -> Iterator[Path]:
    for app in ("accounts", "billing", "console"):
        for path in sorted((CHECKOUT / app).rglob("*.py")):
            if not {"tests", "migrations"} & set(path.relative_to(CHECKOUT).parts):
                yield path


def test_every_action_that_the_product_writes_has_words():
    unknown, made = [], set()
    for path in sources():
        for line, action in written(ast.parse(path.read_text())):
            place = path.relative_to(CHECKOUT).as_posix()
            if action is None:
                made.add(place)
            elif action not in ACTIONS:
                unknown.append(f"{place}:{line} {action}")
    assert unknown == []
    # An action that is put together of a state says here what it can become.
    assert made == set(MADE)
    assert {action for actions in MADE.values() for action in actions} - set(ACTIONS) == set()


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_is_a_subject_and_a_past_verb_in_words_that_go_on_after_a_name(action):
    words = ACTIONS[action].words
    assert SHAPE.fullmatch(action)
    assert len(action) <= 80
    assert words[0].islower()
    assert words[-1] not in ".!"
    assert set(re.findall(r"{(\w+)}", words)) <= {"target", "permission"}


@pytest.mark.parametrize("group", list(Group))
def test_every_group_has_a_name_and_actions(group):
    assert group.label
    assert actions_in(group)
    assert all(ACTIONS[action].group is group for action in actions_in(group))


def test_an_action_without_words_is_refused():
    with pytest.raises(UnknownAction):
        check("thing.changed")


@pytest.mark.parametrize(
    ("planted", "seen"),
    [
        ('audit.record(action="thing.changed")', ["thing.changed"]),
        ('audit.record_once(action="a.b" if x else "c.d")', ["a.b", "c.d"]),
        ('_record(purchase, "purchase.paid")', ["purchase.paid"]),
        ('audit.record(action=f"refund.{state}")', [None]),
        ('audit.record_own_change(action="email.added")', ["email.added"]),
        ('print("thing.changed")', []),
    ],
)
def test_the_walk_sees_what_it_looks_for(planted, seen):
    assert [action for _, action in written(ast.parse(planted))] == seen
