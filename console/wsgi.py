"""The web process: pages, log-in, the Django admin and Stripe's webhooks."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")

application = get_wsgi_application()

from console.checks import refuse_excess_rights  # noqa: E402  (the apps are loaded by the line above)

refuse_excess_rights()
