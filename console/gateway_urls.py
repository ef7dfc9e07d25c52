"""Every route of the gate process."""

from importlib.util import find_spec

from django.urls import URLPattern, URLResolver, path

from console import views

urlpatterns: list[URLPattern | URLResolver] = [path("healthz", views.health, name="health")]

if find_spec("billing.api"):
    from billing.api import api

    urlpatterns.append(path("v1/", api.urls))
