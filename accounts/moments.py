"""Moments in plain text, as mails, files and documents show them: in a time zone, with UTC beside it."""

from datetime import UTC, datetime, timedelta, tzinfo


def day_text(at: datetime, zone: tzinfo) -> str:
    """ "11 Dec 2026", in this time zone."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%b %Y}"


def moment_text(at: datetime, zone: tzinfo) -> str:
    """ "11 Dec 2026, 13:07 CET (12:07 UTC)"."""
    local, utc = at.astimezone(zone), at.astimezone(UTC)
    text = f"{day_text(at, zone)}, {local:%H:%M} {local.tzname()}"
    if local.utcoffset() == timedelta(0):
        return text
    return f"{text} ({utc:%H:%M} UTC)" if utc.date() == local.date() else f"{text} ({utc.day} {utc:%b, %H:%M} UTC)"


def utc_text(at: datetime | None) -> str:
    """ "2026-12-11T12:07:00Z", to the microsecond where there are any; empty for no moment."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else ""
