"""Times as people read them: in the organization's time zone, with UTC beside it, since days and expiry go by UTC."""

from datetime import UTC, datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.models import Organization

register = template.Library()


@register.simple_tag
def local_time(at: datetime | None, organization: Organization, *, seconds: bool = False) -> SafeString:
    """Date, then time with UTC, as a table cell shows it: ``16 Nov 2026`` over ``09:05 CET · 08:05 UTC``."""
    if at is None:
        return SafeString("")
    local = at.astimezone(organization.zone)
    return format_html(
        '<time datetime="{}">{}</time> <small class="nowrap">{}</small>',
        machine_text(at),
        date_text(local),
        clock_text(at, organization, seconds=seconds, separator=" · "),
    )


@register.simple_tag
def local_time_inline(at: datetime | None, organization: Organization, *, seconds: bool = False) -> SafeString:
    """The same within a sentence: ``16 Nov 2026, 09:05 CET (08:05 UTC)``."""
    if at is None:
        return SafeString("")
    clock = clock_text(at, organization, seconds=seconds, separator=" (")
    closing = ")" if " (" in clock else ""
    local = at.astimezone(organization.zone)
    return format_html('<time datetime="{}">{}, {}{}</time>', machine_text(at), date_text(local), clock, closing)


@register.simple_tag
def local_date(at: datetime | None, organization: Organization) -> SafeString:
    """Only the date, in the organization's time zone, for places without room: ``16 Nov 2026``."""
    if at is None:
        return SafeString("")
    return format_html('<time datetime="{}">{}</time>', machine_text(at), date_text(at.astimezone(organization.zone)))


@register.simple_tag
def utc_time(at: datetime) -> SafeString:
    """Date, then time, in UTC, where no organization gives another zone: ``16 Nov 2026`` over ``08:05 UTC``."""
    utc = at.astimezone(UTC)
    return format_html(
        '<time datetime="{}">{}</time> <small class="nowrap">{}</small>',
        machine_text(at),
        date_text(utc),
        f"{utc:%H:%M} UTC",
    )


def machine_text(at: datetime) -> str:
    """The instant in UTC, for the datetime attribute."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def date_text(at: datetime) -> str:
    """``16 Nov 2026``, of the time zone that ``at`` is in."""
    return f"{at.day} {at:%b %Y}"


def clock_text(at: datetime, organization: Organization, *, seconds: bool, separator: str) -> str:
    """``09:05 CET`` and, unless that is the same, UTC's; with UTC's date where it is another day."""
    pattern = "%H:%M:%S" if seconds else "%H:%M"
    local, utc = at.astimezone(organization.zone), at.astimezone(UTC)
    utc_text = f"{utc:{pattern}} UTC"
    if local.utcoffset() == utc.utcoffset() and local.tzname() == "UTC":
        return utc_text
    if local.date() != utc.date():
        utc_text = f"{utc.day} {utc:%b}, {utc_text}"
    return f"{local:{pattern}} {zone_text(local)}{separator}{utc_text}"


def zone_text(at: datetime) -> str:
    """``CET`` where the zone has a name, ``UTC+05:45`` where it only has a number."""
    name = at.tzname() or ""
    if name[:1] in "+-":
        offset = at.strftime("%z")
        return f"UTC{offset[:3]}:{offset[3:5]}"
    return name
