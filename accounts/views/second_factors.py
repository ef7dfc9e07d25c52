"""Pages around second factors that allauth doesn't have: why one is needed, and who has to have one."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from accounts import organizations, second_factors
from accounts.access import RETURN_TO, MemberRequest, requires, signed_in
from accounts.factor_forms import RequiredFactorForm
from accounts.models import Organization, User
from accounts.permissions import Permission


@signed_in
@require_safe
def second_factor_required(request: HttpRequest) -> HttpResponse:
    """Say who asks for a second factor and offer to set one up; with one, go back to where the person was going."""
    assert isinstance(request.user, User)
    if second_factors.has_factor(user=request.user):
        return redirect(request.session.pop(RETURN_TO, None) or "mfa_index")
    return render(
        request, "accounts/second_factor_required.html", {"demands": second_factors.demands_on(user=request.user)}
    )


@requires(Permission.ORGANIZATION_EDIT, is_recent=True)
@require_http_methods(["GET", "HEAD", "POST"])
def organization_security(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Who has to have a second factor here, and who has none yet."""
    is_sent = request.method == "POST"
    kept = {"is_required": organization.requires_second_factor}
    form = RequiredFactorForm(request.POST) if is_sent else RequiredFactorForm(initial=kept)
    if is_sent and form.is_valid() and _require(request, organization, form):
        return redirect("organization_security", slug=organization.slug)
    context = {
        "organization": organization,
        "form": form,
        "has_factor": second_factors.has_factor(user=request.user),
        "members_without": second_factors.members_without(organization=organization),
    }
    return render(request, "accounts/organization_security.html", context, status=422 if is_sent else 200)


def _require(request: MemberRequest, organization: Organization, form: RequiredFactorForm) -> bool:
    """Do what the form says; False with an error at its field where that can't be."""
    is_required = form.cleaned_data["is_required"]
    try:
        is_change = organizations.require_second_factor(
            organization=organization, is_required=is_required, actor=request.user, request=request
        )
    except organizations.SecondFactorMissing:
        form.add_error("is_required", "You have no second factor yourself. Set one up first, then come back.")
        return False
    if is_change and is_required:
        messages.success(request, "Admin and Billing members need a second factor from now on.")
    elif is_change:
        messages.success(request, "Admin and Billing members may do without a second factor again.")
    return True
