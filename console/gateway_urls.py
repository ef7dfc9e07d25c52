"""Every route of the gate process."""

from django.urls import URLPattern, URLResolver, path

from billing.api import gate
from console import views

urlpatterns: list[URLPattern | URLResolver] = [path("healthz", views.health, name="health"), path("v1/", gate.urls)]
