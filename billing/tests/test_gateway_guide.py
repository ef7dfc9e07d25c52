"""docs/gateway.md says what the gate does: its codes, its fields, and the bodies of its first request."""

import json
import re
from pathlib import Path

import pytest

from billing.api import answers, bodies
from billing.credits import metering
from billing.tests.gateway import Gateway

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "gateway.md").read_text(encoding="utf-8")


def test_every_code_stands_in_the_guide_with_its_status():
    rows = re.findall(r"^\| (\d{3}) \| ((?:`\w+`(?:, )?)+) \|", GUIDE, re.M)
    documented = {(code, int(status)) for status, codes in rows for code in re.findall(r"\w+", codes)}
    refusals = {(code, status) for status, code, _ in answers.REFUSALS.values()}
    keys = {(code, 403) for code in answers.KEY_REFUSALS}
    assert documented == refusals | keys | {(code, status) for code, (status, _) in answers.FAILURES.items()}


def test_every_field_and_bound_stands_in_the_guide():
    models = (bodies.AuthorizeBody, bodies.CaptureBody, bodies.VoidBody, bodies.ChargeBody, bodies.ChargeManyBody)
    for model in (*models, bodies.VerifyBody):
        for name in model.model_fields:
            assert f"`{name}`" in GUIDE or f'"{name}"' in GUIDE, name
    for number in (metering.QUANTITY_MAX, metering.EVENTS_PER_CALL_MAX, metering.HOLD_SECONDS_MAX):
        assert f"{number:,}" in GUIDE
    assert f"{metering.HOLD_SECONDS_DEFAULT} seconds" in " ".join(GUIDE.split())
    assert (bodies.BODY_BYTES_MAX, bodies.BATCH_BYTES_MAX) == (64 * 1024, 2 * 1024 * 1024)


@pytest.mark.django_db
def test_the_first_request_works_as_written(gateway: Gateway):
    gateway.add_organization("acme-robotics")
    gateway.fund(10**9, slug="acme-robotics")
    authorize, capture = (json.loads(body) for body in re.findall(r"-d '(\{.*?\})'", GUIDE, re.S))
    held = gateway.post("authorize", authorize)
    captured = gateway.post("capture", capture | {"hold_id": held.json()["hold_id"]})
    amounts = re.findall(r"# 201 .*\"amount_nano\":(\d+)", GUIDE)
    assert [held.json()["amount_nano"], captured.json()["amount_nano"]] == [int(amount) for amount in amounts]
