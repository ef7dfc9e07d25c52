"""What staff see of people and organizations. Changes go through the use cases, so they are audited like all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, cast

from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group as StaffGroup
from django.contrib.auth.models import Permission
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from accounts import audit, memberships, organizations, outbox, second_factors, service_keys
from accounts.audit_actions import Group, actions_in
from accounts.factor_forms import RemoveFactorsForm
from accounts.forms import MembershipForm, NewOrganizationForm, NewServiceKeyForm, NewUserForm
from accounts.models import (
    AuditEvent,
    AuditOrigin,
    Membership,
    Organization,
    OutboxMessage,
    Scope,
    ServiceKey,
    User,
)
from accounts.permissions import Role
from accounts.staff_lists import KeysetAdmin, PlainIdAdmin

# Staff sign in where everyone does: one page to throttle, one to add a second factor to.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
# Addresses follow their user: edited here they would part from the name that people sign in with, unaudited.
admin.site.unregister(EmailAddress)
# Factors are looked at on their person's page: edited here, anybody's could be made or swapped, unaudited.
admin.site.unregister(Authenticator)
admin.site.site_header = "Credit Console, staff"
admin.site.site_title = "Credit Console"
admin.site.index_title = "Administration"


def change_password(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    """Send staff to the page where everyone changes their password, which is throttled and audited."""
    return redirect("account_change_password")


admin.site.password_change = change_password  # type: ignore[method-assign,assignment]


def staff_of(request: HttpRequest) -> User:
    """The signed-in member of staff; the admin lets in nobody else."""
    return cast(User, request.user)


class ReadOnly:
    """Looking only, whatever rights somebody was given."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class SearchedAdmin(KeysetAdmin):
    """A list that doesn't count, found by parts of names as the admin searches elsewhere."""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Any part of any of the search fields."""
        return admin.ModelAdmin.get_search_results(self, request, queryset, search_term)


class AddressInline(ReadOnly, admin.TabularInline):
    model = EmailAddress
    fields = ("email", "primary", "verified")
    readonly_fields = fields
    extra = 0


class FactorInline(ReadOnly, admin.TabularInline):
    """Which second factors somebody has; never what is in them."""

    model = Authenticator
    verbose_name_plural = "second factors"
    fields = ("type", "created_at", "last_used_at")
    readonly_fields = fields
    extra = 0


class MembershipOfUserInline(ReadOnly, admin.TabularInline):
    model = Membership
    fk_name = "user"
    fields = ("organization", "role", "created_at")
    readonly_fields = fields
    show_change_link = True
    extra = 0


class MembershipOfOrganizationInline(ReadOnly, admin.TabularInline):
    model = Membership
    fields = ("user", "role", "created_at")
    readonly_fields = fields
    show_change_link = True
    extra = 0


@admin.register(User)
class UserAdmin(SearchedAdmin):
    change_form_template = "admin/accounts/user/change_form.html"
    list_display = ("email", "name", "is_active", "is_staff", "last_login", "created_at")
    list_filter = ("is_staff", "is_active")
    search_fields: ClassVar[tuple[str, ...]] = ("email", "name")
    search_help_text = "A part of the address or of the name."
    inlines = (AddressInline, FactorInline, MembershipOfUserInline)
    filter_horizontal = ("groups", "user_permissions")
    fieldsets = (
        (None, {"fields": ("email", "name", "is_active", "last_login", "created_at")}),
        ("Rights as staff", {"fields": ("is_staff", "is_superuser", "groups", "user_permissions")}),
    )
    always_readonly: ClassVar = ("email", "last_login", "created_at")
    rights: ClassVar = ("is_staff", "is_superuser", "groups", "user_permissions")

    def get_form(
        self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any
    ) -> type[ModelForm[User]]:
        if obj is None:
            kwargs["form"] = NewUserForm
        return super().get_form(request, obj, change=change, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user_permissions":
            # Each is shown with its table, which would be a query for each.
            kwargs["queryset"] = Permission.objects.select_related("content_type")
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        if obj is None:
            return ((None, {"fields": ("email", "name", "is_email_verified")}),)
        return super().get_fieldsets(request, obj)

    def get_inlines(self, request: HttpRequest, obj: User | None) -> Any:
        return () if obj is None else self.inlines

    def get_urls(self) -> list[URLPattern]:
        """The page on which lost factors are removed, before the admin's own."""
        own = path(
            "<int:user_id>/second-factors/",
            self.admin_site.admin_view(self.remove_factors),
            name="accounts_user_second_factors",
        )
        return [own, *super().get_urls()]

    def remove_factors(self, request: HttpRequest, user_id: int) -> HttpResponse:
        """Remove the factors of somebody who has lost them, with a reason."""
        # Before the person is looked for, so that those who may not change people learn nothing of who there is.
        if not self.has_change_permission(request):
            raise PermissionDenied
        user = self.get_object(request, str(user_id))
        if user is None:
            raise Http404
        form = RemoveFactorsForm(request.POST if request.method == "POST" else None)
        if form.is_valid() and self._removed(request, user, form):
            return redirect("admin:accounts_user_change", user.pk)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Remove the second factors of {user}",
            "opts": self.opts,
            "person": user,
            "form": form,
            "factors": Authenticator.objects.filter(user=user).order_by("pk"),
        }
        return TemplateResponse(
            request, "admin/accounts/user/second_factors.html", context, status=422 if form.errors else 200
        )

    def _removed(self, request: HttpRequest, user: User, form: RemoveFactorsForm) -> bool:
        """Do it; False with an error on the form where it can't be."""
        try:
            second_factors.remove_lost(
                user=user, reason=form.cleaned_data["reason"], actor=staff_of(request), request=request
            )
        except second_factors.OwnFactors:
            form.add_error(
                None, "These are your own. Change them on your Security page, or ask another member of staff."
            )
        except second_factors.OfStaff:
            form.add_error(None, "This person is staff, too: only a superuser removes their factors.")
        except second_factors.NoFactors:
            form.add_error(None, "There is nothing to remove: this person has no second factor.")
        else:
            self.message_user(request, f"{user} has no second factor any more and is signed out everywhere.")
            return True
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        if obj is None:
            return ()
        # Only a superuser makes staff, or a member of staff could make themselves one.
        return self.always_readonly if staff_of(request).is_superuser else self.always_readonly + self.rights

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        # History names users by id. Somebody who leaves may no longer log in.
        return False

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if not change:
            made = User.objects.create_user(
                obj.email, name=obj.name, is_email_verified=form.cleaned_data["is_email_verified"]
            )
            obj.pk, obj._state.adding = made.pk, False
            action, before = "user.created", None
        else:
            saved = User.objects.get(pk=obj.pk)
            before = {name: getattr(saved, name) for name in ("is_active", "is_staff", "is_superuser")}
            super().save_model(request, obj, form, change)
            action = "user.changed"
            if saved.name != obj.name:
                # History says that it changed, not to what: a name stands in nobody's history.
                audit.record(
                    organization=None,
                    actor=staff_of(request),
                    action="user.renamed",
                    target=f"user:{obj.pk}",
                    request=request,
                )
        audit.record(
            organization=None,
            actor=staff_of(request),
            action=action,
            target=f"user:{obj.pk}",
            before=before,
            after={name: getattr(obj, name) for name in ("is_active", "is_staff", "is_superuser")},
            request=request,
        )

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Keep which rights as staff somebody had and has: groups and rights are saved after the row."""
        user: User = form.instance
        before = _rights_of(user)
        super().save_related(request, form, formsets, change)
        after = _rights_of(user)
        if before != after:
            audit.record(
                organization=None,
                actor=staff_of(request),
                action="user.rights_changed",
                target=f"user:{user.pk}",
                before=before,
                after=after,
                request=request,
            )


def _rights_of(user: User) -> dict[str, list[str]]:
    """The groups and single rights of somebody, as they stand in the database."""
    return {
        "groups": [str(pk) for pk in user.groups.order_by("pk").values_list("pk", flat=True)],
        "rights": list(user.user_permissions.order_by("codename").values_list("codename", flat=True)),
    }


admin.site.unregister(StaffGroup)


@admin.register(StaffGroup)
class StaffGroupAdmin(PlainIdAdmin, GroupAdmin):
    """Groups of rights for staff; only a superuser changes them, and each change is kept."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return staff_of(request).is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return staff_of(request).is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return staff_of(request).is_superuser

    def get_actions(self, request: HttpRequest) -> Any:
        # Groups are removed one by one, so that each is kept.
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        # The row is saved by now, its rights are not.
        before = {**self._content_of(form.instance), "name": form.initial["name"]} if change else None
        super().save_related(request, form, formsets, change)
        self._record(request, form.instance, "staff_group.changed" if change else "staff_group.added", before)

    def delete_model(self, request: HttpRequest, obj: StaffGroup) -> None:
        audit.record(
            organization=None,
            actor=staff_of(request),
            action="staff_group.removed",
            target=f"staff_group:{obj.pk}",
            before=self._content_of(obj),
            request=request,
        )
        super().delete_model(request, obj)

    def _record(self, request: HttpRequest, group: StaffGroup, action: str, before: dict[str, Any] | None) -> None:
        after = self._content_of(group)
        if after != before:
            audit.record(
                organization=None,
                actor=staff_of(request),
                action=action,
                target=f"staff_group:{group.pk}",
                before=before,
                after=after,
                request=request,
            )

    def _content_of(self, group: StaffGroup) -> dict[str, Any]:
        return {
            "name": group.name,
            "rights": list(group.permissions.order_by("codename").values_list("codename", flat=True)),
        }


@admin.register(Organization)
class OrganizationAdmin(SearchedAdmin):
    list_display = ("name", "slug", "time_zone", "created_at")
    search_fields: ClassVar[tuple[str, ...]] = ("name", "slug")
    search_help_text = "A part of the name or of the slug."
    inlines = (MembershipOfOrganizationInline,)
    readonly_fields = ("created_at",)

    def get_form(
        self, request: HttpRequest, obj: Organization | None = None, change: bool = False, **kwargs: Any
    ) -> type[ModelForm[Organization]]:
        if obj is None:
            kwargs["form"] = NewOrganizationForm
        return super().get_form(request, obj, change=change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Organization | None = None) -> Any:
        if obj is None:
            return ("name", "slug", "time_zone", "admin")
        return ("name", "slug", "time_zone", "created_at")

    def get_readonly_fields(self, request: HttpRequest, obj: Organization | None = None) -> Any:
        # The slug stands in links that people have kept.
        return () if obj is None else ("slug", "created_at")

    def get_prepopulated_fields(self, request: HttpRequest, obj: Organization | None = None) -> Any:
        return {"slug": ("name",)} if obj is None else {}

    def get_inlines(self, request: HttpRequest, obj: Organization | None) -> Any:
        return () if obj is None else self.inlines

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Organization, form: Any, change: bool) -> None:
        if not change:
            made = organizations.create_organization(
                name=obj.name,
                slug=obj.slug,
                time_zone=obj.time_zone,
                admin=form.cleaned_data["admin"],
                actor=staff_of(request),
                request=request,
            )
            obj.pk, obj._state.adding = made.pk, False
            return
        saved = Organization.objects.get(pk=obj.pk)
        super().save_model(request, obj, form, change)
        audit.record(
            organization=obj,
            actor=staff_of(request),
            action="organization.changed",
            target=f"organization:{obj.pk}",
            before={"name": saved.name, "time_zone": saved.time_zone},
            after={"name": obj.name, "time_zone": obj.time_zone},
            request=request,
        )


# What may have happened between the form and the use case, which looks again under the organization's lock.
OVERTAKEN: Final[Mapping[type[Exception], str]] = {
    memberships.AlreadyMember: "They have become a member meanwhile.",
    memberships.LastAdmin: "They have become the organization's last Admin meanwhile.",
    memberships.MembershipEnded: "They are no member any more.",
}


@admin.register(Membership)
class MembershipAdmin(SearchedAdmin):
    form = MembershipForm
    list_display = ("user", "organization", "role", "created_at")
    list_filter = ("role",)
    list_select_related = ("user", "organization")
    search_fields: ClassVar[tuple[str, ...]] = ("user__email", "organization__name", "organization__slug")
    search_help_text = "A part of a person's address, or of an organization's name or slug."
    autocomplete_fields = ("user", "organization")

    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> Any:
        return () if obj is None else ("organization", "user")

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Say it in words where somebody else was quicker than this form."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except tuple(OVERTAKEN) as error:
            return self._overtaken(request, error)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """As above."""
        try:
            return super().delete_view(request, *args, **kwargs)
        except tuple(OVERTAKEN) as error:
            return self._overtaken(request, error)

    def _overtaken(self, request: HttpRequest, error: Exception) -> HttpResponse:
        messages.error(request, f"{OVERTAKEN[type(error)]} Nothing was changed.")
        return redirect("admin:accounts_membership_changelist")

    def has_delete_permission(self, request: HttpRequest, obj: Membership | None = None) -> bool:
        if obj is not None and memberships.is_last_admin(obj):
            return False
        return super().has_delete_permission(request, obj)

    def get_actions(self, request: HttpRequest) -> Any:
        # Members are removed one by one, each through the use case.
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        if change:
            memberships.change_role(membership=obj, role=Role(obj.role), actor=staff_of(request), request=request)
        else:
            made = memberships.add_member(
                organization=obj.organization,
                user=obj.user,
                role=Role(obj.role),
                actor=staff_of(request),
                request=request,
            )
            obj.pk, obj._state.adding = made.pk, False

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        memberships.remove_member(membership=obj, actor=staff_of(request), request=request)


class AuditOriginInline(ReadOnly, admin.StackedInline):
    model = AuditOrigin
    fields = ("ip_address", "user_agent")


class GroupFilter(admin.SimpleListFilter):
    """By what it is about, in the groups that customers choose from too."""

    title = "what"
    parameter_name = "group"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(group.value, group.label) for group in Group]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        if self.value() not in {group.value for group in Group}:
            return queryset
        return queryset.filter(action__in=actions_in(Group(self.value())))


class RoleFilter(admin.SimpleListFilter):
    """As what somebody acted."""

    title = "role"
    parameter_name = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(audit.STAFF_ROLE, "Staff"), *Role.choices, ("none", "None: the system, or a person's own account")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        known = {"none": "", audit.STAFF_ROLE: audit.STAFF_ROLE, **{role.value: role.value for role in Role}}
        return queryset.filter(role=known[value]) if (value := self.value()) in known else queryset


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnly, KeysetAdmin):
    list_display = ("at", "action", "organization", "actor_id", "role", "target", "request_id")
    list_select_related = ("organization",)
    list_filter = (GroupFilter, RoleFilter)
    exact_search_fields: ClassVar[tuple[str, ...]] = ("action", "target", "request_id")
    search_help_text = "The slug of an organization, a whole action, target or reference, or a number of this list."
    fields = ("at", "action", "organization", "actor_id", "role", "target", "before", "after", "request_id")
    inlines = (AuditOriginInline,)


@admin.register(OutboxMessage)
class OutboxMessageAdmin(ReadOnly, KeysetAdmin):
    has_organization: ClassVar[bool] = False
    list_display = ("subject", "state", "attempts", "due_at", "created_at", "sent_at", "last_error")
    list_filter = ("state",)
    search_fields: ClassVar[tuple[str, ...]] = ("key",)
    exact_search_fields: ClassVar[tuple[str, ...]] = ("key",)
    search_help_text = "The key of a mail, or a number of this list."
    # Not the body: a mail that waits may hold a link that opens somebody's account.
    fields = ("key", "recipients", "subject", "state", "attempts", "due_at", "last_error", "created_at", "sent_at")
    actions = ("send_again",)

    @admin.action(description="Try given-up mails again", permissions=["view"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[OutboxMessage]) -> None:
        count = outbox.try_again(queryset, at=timezone.now())
        audit.record(
            organization=None,
            actor=staff_of(request),
            action="outbox.tried_again",
            after={"count": count},
            request=request,
        )
        self.message_user(request, f"{count} given-up mails will be tried again.")


@admin.register(ServiceKey)
class ServiceKeyAdmin(PlainIdAdmin):
    list_display = ("name", "prefix", "scope_names", "created_at", "last_used_at", "revoked_at")
    search_fields = ("name", "prefix")
    fields = ("name", "prefix", "scope_names", "created_at", "last_used_at", "revoked_at")
    readonly_fields = ("prefix", "scope_names", "created_at", "last_used_at", "revoked_at")
    actions = ("revoke",)

    @admin.display(description="may")
    def scope_names(self, key: ServiceKey) -> str:
        """Its scopes by name."""
        return ", ".join(key.scopes)

    def get_form(
        self, request: HttpRequest, obj: ServiceKey | None = None, change: bool = False, **kwargs: Any
    ) -> type[ModelForm[ServiceKey]]:
        if obj is None:
            kwargs["form"] = NewServiceKeyForm
        return super().get_form(request, obj, change=change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: ServiceKey | None = None) -> Any:
        return ("name", "scopes") if obj is None else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: ServiceKey | None = None) -> Any:
        return () if obj is None else self.readonly_fields

    def has_change_permission(self, request: HttpRequest, obj: ServiceKey | None = None) -> bool:
        # A key is never edited. The list's actions need this right, single keys are shown read-only.
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: ServiceKey | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ServiceKey, form: Any, change: bool) -> None:
        issued = service_keys.issue(
            name=obj.name,
            scopes=[Scope(scope) for scope in form.cleaned_data["scopes"]],
            actor=staff_of(request),
            request=request,
        )
        obj.pk, obj._state.adding = issued.service_key.pk, False
        obj.prefix = issued.service_key.prefix
        # Handed to response_add, which ends this request; it is kept nowhere.
        request.issued_key_text = issued.key_text  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ServiceKey, post_url_continue: str | None = None) -> HttpResponse:
        """Show the key here and now. A redirect would have to keep it in the session."""
        context = {
            **self.admin_site.each_context(request),
            "title": "Service key",
            "opts": self.opts,
            "service_key": obj,
            "key_text": request.issued_key_text,  # type: ignore[attr-defined]
        }
        return TemplateResponse(request, "admin/accounts/servicekey/issued.html", context)

    @admin.action(description="Revoke for good", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ServiceKey]) -> None:
        at = timezone.now()
        count = sum(
            service_keys.revoke(service_key=key, at=at, actor=staff_of(request), request=request) for key in queryset
        )
        self.message_user(request, f"{count} keys are revoked.", level=messages.SUCCESS)
