"""Every call that the stand-in answers: its address, the parameter types that judge it, and who may make it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from sandbox.stripe import (
    balance,
    browser_parameters,
    challenges,
    charges,
    customers,
    disputes,
    events,
    fraud_warnings,
    lists,
    payment_intents,
    payment_methods,
    refunds,
    setup_intents,
)
from sandbox.stripe.call import Call
from sandbox.stripe.errors import ApiError, Reply, not_covered
from sandbox.stripe.parameters import sdk_parameters

Action = Callable[..., Reply]

_EXPAND = frozenset({"expand"})
_FILTERS = frozenset({"charge", "currency", "payment_intent", "payment_method", "source", "type"})
"""Parameters of lists that ask for equal fields."""


@dataclass(frozen=True)
class Operation:
    """One call. `covered` are the parameters that are acted on; the others that `shape` knows are refused loudly.

    `browser_shape` is set where a publishable key may make the call too, and says what it may send.
    """

    method: str
    path: str
    action: Action
    shape: type | None
    covered: frozenset[str] = _EXPAND
    browser_shape: type | None = None
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", re.compile(re.sub(r":\w+", r"([A-Za-z0-9_]+)", self.path) + r"\Z"))


def _list_customers_methods(call: Call, customer_id: str) -> Reply:
    call.state.get("customer", customer_id)
    return _method_page(call, customer=customer_id, url=f"/v1/customers/{customer_id}/payment_methods")


def _list_methods(call: Call) -> Reply:
    customer = call.parameters.get("customer")
    if customer is None:
        raise not_covered("listing payment methods of no customer", param="customer")
    call.state.get("customer", customer, param="customer")
    return _method_page(call, customer=customer, url="/v1/payment_methods")


def _method_page(call: Call, *, customer: str, url: str) -> Reply:
    methods = call.state.newest_first("payment_method", customer=customer)
    if call.parameters.get("type", "card") != "card":
        methods = iter(())
    return Reply(status=200, body=lists.page(call, methods, url=url, kind="payment_method"))


def _retrieve_customers_method(call: Call, customer_id: str, payment_method_id: str) -> Reply:
    call.state.get("customer", customer_id)
    method = call.state.get("payment_method", payment_method_id)
    if method["customer"] != customer_id:
        raise ApiError(
            f"No such payment_method: '{payment_method_id}'",
            status=404,
            code="resource_missing",
            param="payment_method",
        )
    return Reply(status=200, body=method)


def _list_of(kind: str, url: str) -> Action:
    def listed(call: Call) -> Reply:
        customer = call.parameters.get("customer")
        if customer is not None:
            call.state.get("customer", customer, param="customer")
        wanted = {name: value for name, value in call.parameters.items() if name in _FILTERS}
        things = (
            thing
            for thing in call.state.newest_first(kind, customer=customer)
            if all(thing[name] == value for name, value in wanted.items())
        )
        return Reply(status=200, body=lists.page(call, things, url=url, kind=kind))

    return listed


def _list_customers(call: Call) -> Reply:
    wanted = call.parameters.get("email")
    found = (thing for thing in call.state.newest_first("customer") if wanted is None or thing["email"] == wanted)
    return Reply(status=200, body=lists.page(call, found, url="/v1/customers", kind="customer"))


def _list_events(call: Call) -> Reply:
    events.check_filters(call)
    found = (thing for thing in call.state.newest_first("event") if events.matches(call, thing))
    body = lists.page(call, found, url="/v1/events", kind="event")
    body["data"] = [events.shown(call.state, thing) for thing in body["data"]]
    return Reply(status=200, body=body)


def _retrieve_event(call: Call, event_id: str) -> Reply:
    return Reply(status=200, body=events.shown(call.state, call.state.get("event", event_id)))


def _authenticate(call: Call) -> Reply:
    """POST /v1/3ds2/authenticate: what Stripe.js sends when the card holder has answered."""
    intent = challenges.challenged_intent(call, call.parameters["source"])
    finish = (
        payment_intents.finish_authentication
        if intent["object"] == "payment_intent"
        else setup_intents.finish_authentication
    )
    finish(call, intent, is_authenticated=call.parameters["answer"] == "complete")
    return Reply(
        status=200, body={"object": "three_d_secure_2", "state": "succeeded", "source": call.parameters["source"]}
    )


def _operations() -> tuple[Operation, ...]:
    sdk = sdk_parameters
    paged = lists.PAGING
    browser = browser_parameters
    return (
        Operation("POST", "/v1/customers", customers.create, sdk("CustomerCreateParams"), customers.COVERED),
        Operation("GET", "/v1/customers", _list_customers, sdk("CustomerListParams"), paged | {"created", "email"}),
        Operation("GET", "/v1/customers/:id", customers.retrieve, sdk("CustomerRetrieveParams")),
        Operation("POST", "/v1/customers/:id", customers.update, sdk("CustomerUpdateParams"), customers.COVERED),
        Operation(
            "GET",
            "/v1/customers/:id/payment_methods",
            _list_customers_methods,
            sdk("CustomerPaymentMethodListParams"),
            paged | {"type"},
        ),
        Operation(
            "GET",
            "/v1/customers/:id/payment_methods/:method",
            _retrieve_customers_method,
            sdk("CustomerPaymentMethodRetrieveParams"),
        ),
        Operation(
            "POST",
            "/v1/setup_intents",
            setup_intents.create,
            sdk("SetupIntentCreateParams"),
            setup_intents.COVERED_BY_CREATE,
        ),
        Operation(
            "GET",
            "/v1/setup_intents",
            _list_of("setup_intent", "/v1/setup_intents"),
            sdk("SetupIntentListParams"),
            paged | {"created", "customer", "payment_method"},
        ),
        Operation(
            "GET",
            "/v1/setup_intents/:id",
            setup_intents.retrieve,
            sdk("SetupIntentRetrieveParams"),
            frozenset({"expand", "client_secret"}),
            browser.BrowserRetrieveParams,
        ),
        Operation(
            "POST",
            "/v1/setup_intents/:id/confirm",
            setup_intents.confirm,
            sdk("SetupIntentConfirmParams"),
            setup_intents.COVERED_BY_CONFIRM,
            browser.BrowserConfirmParams,
        ),
        Operation(
            "POST",
            "/v1/setup_intents/:id/cancel",
            setup_intents.cancel,
            sdk("SetupIntentCancelParams"),
            frozenset({"expand", "cancellation_reason"}),
        ),
        Operation(
            "GET",
            "/v1/payment_methods",
            _list_methods,
            sdk("PaymentMethodListParams"),
            paged | {"customer", "type"},
        ),
        Operation("GET", "/v1/payment_methods/:id", payment_methods.retrieve, sdk("PaymentMethodRetrieveParams")),
        Operation(
            "POST",
            "/v1/payment_methods/:id/attach",
            payment_methods.attach,
            sdk("PaymentMethodAttachParams"),
            frozenset({"customer", "expand"}),
        ),
        Operation("POST", "/v1/payment_methods/:id/detach", payment_methods.detach, sdk("PaymentMethodDetachParams")),
        Operation(
            "POST",
            "/v1/payment_intents",
            payment_intents.create,
            sdk("PaymentIntentCreateParams"),
            payment_intents.COVERED_BY_CREATE,
        ),
        Operation(
            "GET",
            "/v1/payment_intents",
            _list_of("payment_intent", "/v1/payment_intents"),
            sdk("PaymentIntentListParams"),
            paged | {"created", "customer"},
        ),
        Operation(
            "GET",
            "/v1/payment_intents/:id",
            payment_intents.retrieve,
            sdk("PaymentIntentRetrieveParams"),
            frozenset({"expand", "client_secret"}),
            browser.BrowserRetrieveParams,
        ),
        Operation(
            "POST",
            "/v1/payment_intents/:id/confirm",
            payment_intents.confirm,
            sdk("PaymentIntentConfirmParams"),
            payment_intents.COVERED_BY_CONFIRM,
            browser.BrowserConfirmParams,
        ),
        Operation(
            "POST",
            "/v1/payment_intents/:id/cancel",
            payment_intents.cancel,
            sdk("PaymentIntentCancelParams"),
            frozenset({"expand", "cancellation_reason"}),
        ),
        Operation("GET", "/v1/charges/:id", charges.retrieve, sdk("ChargeRetrieveParams")),
        Operation(
            "GET",
            "/v1/charges",
            _list_of("charge", "/v1/charges"),
            sdk("ChargeListParams"),
            paged | {"created", "customer", "payment_intent"},
        ),
        Operation("POST", "/v1/refunds", refunds.create, sdk("RefundCreateParams"), refunds.COVERED_BY_CREATE),
        Operation(
            "GET",
            "/v1/refunds",
            _list_of("refund", "/v1/refunds"),
            sdk("RefundListParams"),
            paged | {"charge", "created", "payment_intent"},
        ),
        Operation("GET", "/v1/refunds/:id", refunds.retrieve, sdk("RefundRetrieveParams")),
        Operation(
            "POST", "/v1/refunds/:id", refunds.update, sdk("RefundUpdateParams"), frozenset({"expand", "metadata"})
        ),
        Operation("GET", "/v1/disputes/:id", disputes.retrieve, sdk("DisputeRetrieveParams")),
        Operation(
            "GET",
            "/v1/disputes",
            _list_of("dispute", "/v1/disputes"),
            sdk("DisputeListParams"),
            paged | {"charge", "created", "payment_intent"},
        ),
        Operation("POST", "/v1/disputes/:id/close", disputes.close, sdk("DisputeCloseParams")),
        Operation(
            "GET",
            "/v1/radar/early_fraud_warnings",
            _list_of(fraud_warnings.KIND, "/v1/radar/early_fraud_warnings"),
            sdk("EarlyFraudWarningListParams", area="radar"),
            paged | {"charge", "created", "payment_intent"},
        ),
        Operation(
            "GET",
            "/v1/radar/early_fraud_warnings/:id",
            fraud_warnings.retrieve,
            sdk("EarlyFraudWarningRetrieveParams", area="radar"),
        ),
        Operation(
            "GET",
            "/v1/balance_transactions",
            _list_of("balance_transaction", "/v1/balance_transactions"),
            sdk("BalanceTransactionListParams"),
            paged | {"created", "currency", "source", "type"},
        ),
        Operation("GET", "/v1/balance_transactions/:id", balance.retrieve, sdk("BalanceTransactionRetrieveParams")),
        Operation("GET", "/v1/events/:id", _retrieve_event, sdk("EventRetrieveParams")),
        Operation(
            "GET",
            "/v1/events",
            _list_events,
            sdk("EventListParams"),
            paged | {"created", "delivery_success", "type", "types"},
        ),
        Operation("POST", "/v1/3ds2/authenticate", _authenticate, None, frozenset(), browser.BrowserAuthenticateParams),
    )


OPERATIONS = _operations()


def find(method: str, path: str) -> tuple[Operation, tuple[str, ...]]:
    """The operation for a request, with the ids in its path; raises the API's 404."""
    for operation in OPERATIONS:
        match = operation.pattern.match(path)
        if match is not None and operation.method == method:
            return operation, match.groups()
    raise ApiError(
        f"Unrecognized request URL ({method}: {path}). Please see https://docs.stripe.com/api or we can help at "
        "https://support.stripe.com/.",
        status=404,
    )
