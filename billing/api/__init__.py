"""The gate: what the platform's gateway asks before, after and beside each request of its customers.

JSON over HTTP with a service key. Nothing here knows a browser, a session or a person. The operations themselves are
in :mod:`billing.credits.metering`; this package reads bodies strictly, keeps service keys for at most a second, and
writes answers and refusals in one shape.
"""

from billing.api.routes import gate

__all__ = ["gate"]
