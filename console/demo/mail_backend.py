"""Keeps each mail as one file in the demo's folder, where the mailbox page finds it."""

import secrets
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.message import EmailMessage
from django.utils import timezone


class MailFolderBackend(BaseEmailBackend):
    """Writes mails; never sends one."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Write each message as <time>-<random>.eml, so that names sort by time and can't be guessed."""
        folder = Path(settings.DEMO_FOLDER) / "mail"
        folder.mkdir(parents=True, exist_ok=True)
        for message in email_messages:
            name = f"{timezone.now():%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(8)}"
            unfinished = folder / f"{name}.new"
            unfinished.write_bytes(message.message().as_bytes())
            unfinished.replace(folder / f"{name}.eml")
        return len(email_messages)
