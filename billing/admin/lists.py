"""The lists of billing's rows on the staff pages: long ones, that nobody edits."""

from accounts.admin import ReadOnly
from accounts.staff_lists import KeysetAdmin

__all__ = ["HistoryAdmin", "KeysetAdmin"]


class HistoryAdmin(ReadOnly, KeysetAdmin):
    """Rows that nobody adds, changes or deletes here, whatever rights they have."""

    class Media:
        css = {"all": ("billing/staff.css",)}
