"""What every page's shell shows."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def shell(request: HttpRequest) -> dict[str, Any]:
    """The platform's name, and whether this is the demo with its mailbox."""
    return {"platform_name": settings.PLATFORM_NAME, "is_demo": bool(settings.DEMO_FOLDER)}
