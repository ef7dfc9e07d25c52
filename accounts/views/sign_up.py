"""After signing up: one more mail with the link that confirms the address."""

from allauth.account.internal.flows.email_verification import send_verification_email_at_login
from allauth.account.internal.stagekit import unstash_login
from django.contrib import messages
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from accounts.access import public


@public("for people whose address isn't confirmed yet; it answers alike whether there is an account or not")
@require_POST
def resend_confirmation(request: HttpRequest) -> HttpResponseBase:
    """Send the link again, to whoever signed up or signed in from this browser in the last 15 minutes."""
    login = unstash_login(request, peek=True)
    if login is None:
        messages.info(request, "Sign in once more, and we send you a new link.")
        return redirect("account_login")
    send_verification_email_at_login(request, login)
    return redirect("account_email_verification_sent")
