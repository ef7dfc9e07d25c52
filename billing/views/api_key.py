"""One API key: made, changed, replaced, stopped, revoked. Its text is in the answer that makes it and nowhere else."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import uuid4

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from accounts import api_keys as keys
from accounts.access import MemberRequest, requires
from accounts.api_keys import AlreadyMade, IssuedApiKey, KeyEnded
from accounts.models import ApiKey, Organization
from accounts.permissions import Permission
from billing.api_key_forms import ApiKeySettingsForm, NewApiKeyForm, RotateForm
from billing.credits import key_limits
from billing.errors import Refused
from billing.forms import add_refusal
from billing.views.api_keys import rows_of

FORM = ["GET", "HEAD", "POST"]
MADE_BEFORE = (
    "This form was sent before, and {} was made then: no second key was. Its text was in that answer only. "
    "If you don't have it, revoke this key and create another."
)
ENDED = "This key has ended or was replaced meanwhile, so nothing was changed."


@requires(Permission.KEYS_MANAGE, is_recent=True)
@require_http_methods(FORM)
def api_key_create(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Make a key and show its text, once."""
    at = timezone.now()
    filled = request.POST if request.method == "POST" else None
    form = NewApiKeyForm(filled, zone=organization.zone, at=at, initial={"attempt_key": uuid4()})
    if request.method == "POST" and form.is_valid():
        try:
            issued = key_limits.create_key(
                organization=organization,
                name=form.cleaned_data["name"],
                surface=ApiKey.Surface(form.cleaned_data["surface"]),
                expires_at=form.expires_at,
                limit_cents=form.cleaned_data["limit_cents"],
                attempt_key=form.cleaned_data["attempt_key"],
                actor=request.user,
                request=request,
            )
        except Refused as refusal:
            add_refusal(form, refusal)
        except AlreadyMade as made:
            messages.warning(request, MADE_BEFORE.format(made.api_key.name))
            return redirect("billing:api_key", slug=organization.slug, key_id=made.api_key.pk)
        else:
            return _issued(request, organization, issued)
    status = 422 if form.errors else 200
    return render(request, "billing/api_key_create.html", {"organization": organization, "form": form}, status=status)


@requires(Permission.KEYS_MANAGE, is_recent=True)
@require_http_methods(FORM)
def api_key(request: MemberRequest, organization: Organization, *, key_id: int) -> HttpResponse:
    """Show a key, and save its name, end and limit."""
    at = timezone.now()
    found = _found(organization, key_id)
    form = _settings_form(request, organization, found, at)
    status = 200
    if request.method == "POST":
        if form.is_valid() and _save(request, found, form, at=at):
            messages.success(request, f"{form.cleaned_data['name']} is saved.")
            return redirect("billing:api_key", slug=organization.slug, key_id=key_id)
        status = 422
    spent = key_limits.spent_nano(organization_id=organization.pk, prefixes=[found.prefix], at=at)
    (row,) = rows_of([found], spent=spent, at=at)
    context = {
        "organization": organization,
        "row": row,
        "form": form,
        "can_change": row.state in ("active", "stopped") and row.replacement is None,
    }
    return render(request, "billing/api_key.html", context, status=status)


@requires(Permission.KEYS_MANAGE, is_recent=True)
@require_http_methods(FORM)
def api_key_rotate(request: MemberRequest, organization: Organization, *, key_id: int) -> HttpResponse:
    """Replace a key by a new one with the same settings, and show that one's text, once."""
    found = _found(organization, key_id)
    form = RotateForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            issued = key_limits.rotate_key(
                api_key=found,
                overlap=form.cleaned_data["overlap"],
                at=timezone.now(),
                actor=request.user,
                request=request,
            )
        except KeyEnded:
            form.add_error(None, ENDED)
        else:
            found.refresh_from_db()
            return _issued(request, organization, issued, replaced=found)
    context = {"organization": organization, "key": found, "form": form}
    return render(request, "billing/api_key_rotate.html", context, status=422 if form.errors else 200)


@requires(Permission.KEYS_MANAGE)
@require_POST
def api_key_stop(request: MemberRequest, organization: Organization, *, key_id: int) -> HttpResponse:
    """Stop a key at once. No new proof of who somebody is: whoever holds a leaked key is quicker."""
    found = _found(organization, key_id)
    if keys.stop(api_key=found, at=timezone.now(), actor=request.user, request=request):
        messages.success(request, f"{found.name} is stopped. Its requests are refused within a second.")
    else:
        messages.info(request, f"{found.name} was stopped or revoked before.")
    return redirect("billing:api_key", slug=organization.slug, key_id=key_id)


@requires(Permission.KEYS_MANAGE, is_recent=True)
@require_POST
def api_key_resume(request: MemberRequest, organization: Organization, *, key_id: int) -> HttpResponse:
    """Let a stopped key work again."""
    found = _found(organization, key_id)
    if keys.resume(api_key=found, actor=request.user, request=request):
        messages.success(request, f"{found.name} works again.")
    else:
        messages.info(request, f"{found.name} is not stopped, or was revoked.")
    return redirect("billing:api_key", slug=organization.slug, key_id=key_id)


@requires(Permission.KEYS_MANAGE)
@require_http_methods(FORM)
def api_key_revoke(request: MemberRequest, organization: Organization, *, key_id: int) -> HttpResponse:
    """Ask, then end a key for good."""
    found = _found(organization, key_id)
    if request.method != "POST":
        return render(request, "billing/api_key_revoke.html", {"organization": organization, "key": found})
    if keys.revoke(api_key=found, at=timezone.now(), actor=request.user, request=request):
        messages.success(request, f"{found.name} is revoked. Its requests are refused within a second.")
    else:
        messages.info(request, f"{found.name} was revoked before.")
    return redirect("billing:api_keys", slug=organization.slug)


def _found(organization: Organization, key_id: int) -> ApiKey:
    found = keys.key_of(organization=organization, key_id=key_id)
    if found is None:
        raise Http404
    return found


def _settings_form(
    request: MemberRequest, organization: Organization, found: ApiKey, at: datetime
) -> ApiKeySettingsForm:
    if request.method == "POST":
        return ApiKeySettingsForm(request.POST, zone=organization.zone, at=at)
    ends_at = found.expires_at
    # The end is the first instant after the last day.
    last_day = (ends_at - timedelta(microseconds=1)).astimezone(organization.zone).date() if ends_at else None
    initial = {"name": found.name, "last_day": last_day, "limit_cents": key_limits.limit_of(found)}
    return ApiKeySettingsForm(initial=initial, zone=organization.zone, at=at)


def _save(request: MemberRequest, found: ApiKey, form: ApiKeySettingsForm, *, at: datetime) -> bool:
    try:
        key_limits.edit_key(
            api_key=found,
            name=form.cleaned_data["name"],
            expires_at=form.expires_at,
            limit_cents=form.cleaned_data["limit_cents"],
            at=at,
            actor=request.user,
            request=request,
        )
    except Refused as refusal:
        add_refusal(form, refusal)
    except KeyEnded:
        form.add_error(None, ENDED)
    return not form.errors


def _issued(
    request: MemberRequest, organization: Organization, issued: IssuedApiKey, *, replaced: ApiKey | None = None
) -> HttpResponse:
    """The text of a new key, here and now: a redirect would have to keep it somewhere."""
    context = {
        "organization": organization,
        "key": issued.api_key,
        "key_text": issued.key_text,
        "replaced": replaced,
    }
    response = render(request, "billing/api_key_issued.html", context)
    response.headers["Cache-Control"] = "no-store"
    return response
