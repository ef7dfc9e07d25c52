"""Every route of the gate process."""

from django.urls import URLPattern, URLResolver, path

from billing.api import gate
from console import views

urlpatterns: list[URLPattern | URLResolver] = [path("healthz", views.health, name="health"), path("v1/", gate.urls)]

handler400 = "billing.api.envelope.bad_request"
handler404 = "billing.api.envelope.not_found"
handler500 = "billing.api.envelope.failed"
