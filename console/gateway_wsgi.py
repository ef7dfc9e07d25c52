"""The gate process: `/v1/` for the platform's gateway, and nothing else.

It is a process class of its own, so that pages and gate scale apart and a slow page never delays an authorization.
Sessions, messages and log-in are not loaded: the only credential here is a service key.
"""

import os

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")

django.setup(set_prefix=False)
settings.ROOT_URLCONF = "console.gateway_urls"
settings.MIDDLEWARE = settings.GATE_MIDDLEWARE
# Plain HTTP is refused, not led on: billing.api.envelope.
settings.SECURE_SSL_REDIRECT = False

application = WSGIHandler()

from console.checks import refuse_excess_rights  # noqa: E402  (the apps are loaded above)

refuse_excess_rights()
