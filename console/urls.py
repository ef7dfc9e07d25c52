"""Every route of the web process. The gate has its own: console.gateway_urls."""

from importlib.util import find_spec

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from console import navigation, policy_reports, views

urlpatterns: list[URLPattern | URLResolver] = [
    path("", navigation.home, name="home"),
    path("o/<slug:slug>/", navigation.organization_home, name="organization"),
    path("healthz", views.health, name="health"),
    path("policy-reports/", policy_reports.policy_reports, name="policy_reports"),
    path("accounts/", include("allauth.account.urls")),
    path("accounts/2fa/", include("allauth.mfa.urls")),
    path("admin/", admin.site.urls),
]
for app in ("accounts", "billing"):
    if find_spec(f"{app}.urls"):
        urlpatterns.append(path("", include(f"{app}.urls")))

if settings.DEMO_FOLDER:
    urlpatterns.append(path("demo/", include("console.demo.urls")))

handler400 = "console.failures.bad_request"
handler500 = "console.failures.failed"
