"""Pages of people and organizations that allauth doesn't have."""

from django.urls import path

from accounts.views import invitations, members, new_organization, roles
from accounts.views.account import own_sessions, profile
from accounts.views.audit_log import audit_log_csv, audit_log_page
from accounts.views.closing import organization_close
from accounts.views.organization_settings import organization_settings
from accounts.views.second_factors import organization_security, second_factor_required
from accounts.views.sign_up import resend_confirmation

urlpatterns = [
    path("accounts/resend-confirmation/", resend_confirmation, name="account_resend_confirmation"),
    path("accounts/profile/", profile, name="account_profile"),
    path("accounts/sessions/", own_sessions, name="account_sessions"),
    path("organizations/new/", new_organization.organization_create, name="organization_create"),
    path("invitation/", invitations.invitation, name="invitation"),
    path("invitation/<int:invitation_id>/", invitations.own_invitation, name="own_invitation"),
    path("invitations/<slug:token>/", invitations.invitation_link, name="invitation_link"),
    path("o/<slug:slug>/leave/", members.leave, name="leave"),
    path("o/<slug:slug>/settings/members/", members.members, name="members"),
    path("o/<slug:slug>/settings/members/<int:membership_id>/", members.member, name="member"),
    path("o/<slug:slug>/settings/members/<int:membership_id>/remove/", members.member_remove, name="member_remove"),
    path("o/<slug:slug>/settings/invitations/new/", invitations.invite, name="invite"),
    path(
        "o/<slug:slug>/settings/invitations/<int:invitation_id>/send/",
        invitations.invitation_send,
        name="invitation_send",
    ),
    path(
        "o/<slug:slug>/settings/invitations/<int:invitation_id>/withdraw/",
        invitations.invitation_withdraw,
        name="invitation_withdraw",
    ),
    path("o/<slug:slug>/settings/close/", organization_close, name="organization_close"),
    path("o/<slug:slug>/settings/organization/", organization_settings, name="organization_settings"),
    path("o/<slug:slug>/settings/roles/", roles.roles, name="roles"),
    path("o/<slug:slug>/settings/audit-log/", audit_log_page, name="audit_log"),
    path("o/<slug:slug>/settings/audit-log/file/", audit_log_csv, name="audit_log_csv"),
    path("accounts/2fa/required/", second_factor_required, name="second_factor_required"),
    path("o/<slug:slug>/settings/security/", organization_security, name="organization_security"),
]
