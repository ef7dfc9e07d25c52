"""A strict stand-in for the part of Stripe that the console uses: API, Stripe.js, webhooks and faults.

It promises to refuse whatever Stripe would refuse, and to fail loudly where Stripe offers more than is built here. It
never talks to Stripe, never listens anywhere but on loopback, and never stores a card number. README.md beside it lists
what is covered, and where Stripe's own behaviour isn't documented and the stricter reading was taken.
"""

import stripe as sdk

API_VERSION: str = sdk.api_version
"""The API version that the pinned SDK sends; the stand-in speaks this one and no other."""
