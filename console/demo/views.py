"""What only the demo shows, to whoever sits at this machine: every mail sent, and the code that staff sign in with."""

import email
import email.policy
import re
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path

from allauth.mfa import app_settings
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from accounts.access import public
from console.demo.people import STAFF_TOTP_SECRET

LISTED_MAX = 200
FILE_NAME = re.compile(r"[0-9TZ.]+-[0-9a-f]{16}")


@dataclass(frozen=True)
class Mail:
    """One mail as the mailbox shows it: its plain text, whatever else it carries."""

    name: str
    recipients: str
    subject: str
    sent_at: datetime | None
    text: str


@public("the demo's mails, on a machine of one's own; the route exists in the demo only")
def mailbox(request: HttpRequest) -> HttpResponse:
    """List the mails, the newest first."""
    paths = sorted(mail_folder().glob("*.eml"), reverse=True)[:LISTED_MAX]
    return render(request, "demo/mailbox.html", {"mails": [read_mail(path) for path in paths]})


@public("the demo's mails, on a machine of one's own; the route exists in the demo only")
def mail(request: HttpRequest, name: str) -> HttpResponse:
    """Show one mail."""
    path = mail_folder() / f"{name}.eml"
    if not FILE_NAME.fullmatch(name) or not path.exists():
        raise Http404
    return render(request, "demo/mail.html", {"mail": read_mail(path)})


@public("the demo's staff have no phone; the route exists in the demo only")
def code(request: HttpRequest) -> HttpResponse:
    """Show the code that an authenticator app of the demo's staff would show now."""
    at = int(timezone.now().timestamp())
    counter, age_seconds = divmod(at, app_settings.TOTP_PERIOD)
    context = {
        "code": format_hotp_value(hotp_value(STAFF_TOTP_SECRET, counter)),
        "seconds_left": app_settings.TOTP_PERIOD - age_seconds,
        "secret": STAFF_TOTP_SECRET,
    }
    return render(request, "demo/code.html", context)


def mail_folder() -> Path:
    """Where the mail backend of the demo writes."""
    return Path(settings.DEMO_FOLDER) / "mail"


def read_mail(path: Path) -> Mail:
    """Read a mail as the backend wrote it."""
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    body = message.get_body(preferencelist=("plain",))
    sent_at = message["Date"].datetime if message["Date"] else None
    return Mail(
        name=path.stem,
        recipients=str(message["To"] or ""),
        subject=str(message["Subject"] or ""),
        sent_at=sent_at,
        text=body.get_content() if body else "",
    )
