"""Pages of people that allauth doesn't have."""

from django.urls import path

from accounts.views.account import own_sessions, profile
from accounts.views.sign_up import resend_confirmation

urlpatterns = [
    path("accounts/resend-confirmation/", resend_confirmation, name="account_resend_confirmation"),
    path("accounts/profile/", profile, name="account_profile"),
    path("accounts/sessions/", own_sessions, name="account_sessions"),
]
