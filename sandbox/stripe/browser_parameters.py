"""What Stripe.js may send with a publishable key. The SDK doesn't know these calls, so their types stand here.

This module can't postpone its annotations: what is required would no longer be known at run time.
"""

from typing import Literal, NotRequired, TypedDict

from stripe.params._setup_intent_confirm_params import SetupIntentConfirmParamsPaymentMethodDataBillingDetails


class BrowserCard(TypedDict):
    """The card as typed by its holder."""

    number: str
    exp_month: int
    exp_year: int
    cvc: NotRequired[str]


class BrowserPaymentMethodData(TypedDict):
    """A new card with its billing details."""

    type: Literal["card"]
    card: BrowserCard
    billing_details: NotRequired[SetupIntentConfirmParamsPaymentMethodDataBillingDetails]


class BrowserConfirmParams(TypedDict):
    """Confirming an intent."""

    key: NotRequired[str]
    client_secret: str
    payment_method: NotRequired[str]
    payment_method_data: NotRequired[BrowserPaymentMethodData]
    return_url: NotRequired[str]
    use_stripe_sdk: NotRequired[bool]


class BrowserRetrieveParams(TypedDict):
    """Reading an intent."""

    key: NotRequired[str]
    client_secret: str


class BrowserAuthenticateParams(TypedDict):
    """The card holder's answer to a challenge."""

    key: NotRequired[str]
    client_secret: str
    source: str
    answer: Literal["complete", "fail"]
