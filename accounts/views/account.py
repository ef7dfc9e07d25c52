"""One's own account: the name, and where one is signed in. Address and password are allauth's pages."""

from typing import cast

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts import people, sessions
from accounts.access import signed_in
from accounts.forms import ProfileForm
from accounts.models import User


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: HttpRequest) -> HttpResponseBase:
    """Show and change the name."""
    user = cast(User, request.user)
    if request.method != "POST":
        return render(request, "account/profile.html", {"form": ProfileForm(initial={"name": user.name})})
    form = ProfileForm(request.POST)
    if not form.is_valid():
        return render(request, "account/profile.html", {"form": form}, status=422)
    people.rename(user=user, name=form.cleaned_data["name"], request=request)
    messages.success(request, "Your name is saved.")
    return redirect("account_profile")


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def own_sessions(request: HttpRequest) -> HttpResponseBase:
    """List the sessions, and by POST end all but this one."""
    user = cast(User, request.user)
    key = request.session.session_key
    if request.method == "POST":
        count = sessions.end_others(user=user, kept_key=key, actor=user, request=request)
        words = "There was no other session." if not count else "All your other sessions are signed out."
        messages.success(request, words)
        return redirect("account_sessions")
    listed = sessions.sessions_of(user=user, current_key=key, at=timezone.now())
    context = {
        "sessions": listed,
        "has_others": any(not one.is_current for one in listed),
        "lifetime_days": settings.SESSION_LIFETIME.days,
    }
    return render(request, "account/sessions.html", context)
