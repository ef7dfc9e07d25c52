"""Lists that cost the same however long their table grows: nothing is counted, and no page is reached by an offset.

A page begins below the last row of the one before (keyset). Without an organization, rows come newest first by id, and
with one in the order of an index that begins with the organization.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import ValidationError
from django.db.models import DateTimeField, Q, QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest

from accounts.models import Organization

BEFORE = "before"
_BETWEEN_VALUES = "~"
_ROW_NUMBER = re.compile(r"[0-9]{1,18}")


class KeysetList(ChangeList):
    """One page of a long list, and whether there are older rows."""

    model_admin: "KeysetAdmin"

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """The filters, without the position; a NUL character, which PostgreSQL's text can't hold, is refused here."""
        found: dict[str, Any] = super().get_filters_params(params)
        if "\x00" in self.query or any("\x00" in value for values in found.values() for value in values):
            raise IncorrectLookupParameters("NUL")
        found.pop(BEFORE, None)
        return found

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        """Descending by the keys of the position, whatever the address asks for."""
        return [f"-{name}" for name in self._keys(request)]

    def get_results(self, request: HttpRequest) -> None:
        """Read one row more than a page has, instead of counting."""
        queryset = self.queryset
        if text := request.GET.get(BEFORE):
            queryset = queryset.filter(self._below(text, keys=self._keys(request)))
        rows = list(queryset[: self.list_per_page + 1])
        self.has_older = len(rows) > self.list_per_page
        self.result_list = rows[: self.list_per_page]
        self.result_count = len(self.result_list)
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = bool(self.result_list)
        self.can_show_all = self.multi_page = False
        self.paginator = self.model_admin.get_paginator(request, self.result_list, self.list_per_page)
        self.older_query = (
            self.get_query_string({BEFORE: self._position(self._keys(request))}) if self.has_older else ""
        )
        self.newest_query = self.get_query_string(remove=[BEFORE]) if text else ""
        self.model_admin.prepare_page(self.result_list)

    def _keys(self, request: HttpRequest) -> tuple[str, ...]:
        return self.model_admin.keys_in_organization if self.query else ("id",)

    def _position(self, keys: tuple[str, ...]) -> str:
        values = (getattr(self.result_list[-1], name) for name in keys)
        return _BETWEEN_VALUES.join(
            value.isoformat() if isinstance(value, datetime) else str(value) for value in values
        )

    def _below(self, text: str, *, keys: tuple[str, ...]) -> Q:
        # A value may hold the separator itself, if it is the first: only texts of a single key are taken as they are.
        parts = text.rsplit(_BETWEEN_VALUES, len(keys) - 1)
        if len(parts) != len(keys):
            raise IncorrectLookupParameters(BEFORE)
        values = [self._value(name, part) for name, part in zip(keys, parts, strict=True)]
        if len(keys) == 1:
            return Q((f"{keys[0]}__lt", values[0]))
        first, second = keys
        # The redundant first condition is what the index can begin with.
        return Q((f"{first}__lte", values[0])) & (Q((f"{first}__lt", values[0])) | Q((f"{second}__lt", values[1])))

    def _value(self, name: str, text: str) -> Any:
        field = self.model._meta.get_field(name)
        try:
            if not isinstance(field, DateTimeField):
                return field.to_python(text)  # type: ignore[union-attr]
            at = datetime.fromisoformat(text)
        except (ValueError, ValidationError) as error:
            raise IncorrectLookupParameters(BEFORE) from error
        if at.tzinfo is None:
            raise IncorrectLookupParameters(BEFORE)
        return at


def row_number(text: str) -> int | None:
    """A row's number, if the text is one: at most eighteen plain digits, which every id has room for."""
    return int(text) if _ROW_NUMBER.fullmatch(text) else None


class PlainAutocomplete(AutocompleteSelect):
    """Shows a form again whose choice is no number; Django's own looks for it among the rows, and fails."""

    def optgroups(self, name: str, value: Sequence[str], attr: dict[str, Any] | None = None) -> Any:
        return super().optgroups(name, [each for each in value if row_number(str(each)) is not None], attr)


class PlainIdAdmin(admin.ModelAdmin):
    """Finds rows by their id as it is written here, and not in the digits of other scripts, which Python reads too.

    An address that names no field to find them by (``?_to_field=``) finds them by id: Django takes the empty name for
    the name of a field and fails.
    """

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        return super().get_object(request, object_id, from_field or None) if object_id.isascii() else None

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs.setdefault("widget", PlainAutocomplete(db_field, self.admin_site))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class KeysetAdmin(PlainIdAdmin):
    """A long table of rows that belong to organizations. The search box takes a slug, or a row's number."""

    keys_in_organization: ClassVar[tuple[str, ...]] = ("id",)
    exact_search_fields: ClassVar[tuple[str, ...]] = ()
    has_organization: ClassVar[bool] = True

    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    search_fields: ClassVar[tuple[str, ...]] = ("organization__slug",)
    search_help_text = "The slug of an organization, or a number of this list."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list that doesn't count."""
        return KeysetList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find by an organization's slug or by exact names: each of them has an index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if self.has_organization:
            organization_id = Organization.objects.filter(slug=term).values_list("pk", flat=True).first()
            if organization_id is not None:
                return queryset.filter(organization_id=organization_id), False
        names = Q()
        for name in self.exact_search_fields:
            names |= Q((name, term))
        if (number := row_number(term)) is not None:
            names |= Q(pk=number)
        return (queryset.filter(names) if names else queryset.none()), False

    def prepare_page(self, rows: list[Any]) -> None:
        """Load what all rows of a page show, in a fixed number of queries."""
