"""How the tests of the pages read a page and send its forms, as a browser without JavaScript does."""

import html
import re
from typing import Any

from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from accounts.models import User


class Pages:
    """One signed-in person on the pages of one organization."""

    def __init__(self, user: User, *, slug: str) -> None:
        self.slug = slug
        self.client = Client()
        self.client.force_login(user)

    def url(self, name: str, **arguments: Any) -> str:
        return reverse(f"billing:{name}", kwargs={"slug": self.slug, **arguments})

    def get(self, name: str = "overview", query: str = "", **arguments: Any) -> Any:
        return self.client.get(self.url(name, **arguments) + query)

    def post(self, name: str, data: dict[str, Any], **arguments: Any) -> Any:
        return self.client.post(self.url(name, **arguments), data)

    def form(self, name: str, query: str = "") -> dict[str, str]:
        """The fields of a page's form as it was rendered."""
        return fields_of(self.get(name, query))


def fields_of(response: HttpResponse) -> dict[str, str]:
    """What a browser would send of the form in the dialog: hidden fields, texts, and what is ticked."""
    (form,) = re.findall(
        r'<form action="[^"]*" method="post" novalidate.*?</form>', response.content.decode(), re.DOTALL
    )
    fields: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*>", form):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        is_choice = attributes.get("type") in ("radio", "checkbox")
        if "name" in attributes and (not is_choice or re.search(r"\schecked\b", tag)):
            fields[attributes["name"]] = html.unescape(attributes.get("value", "on" if is_choice else ""))
    return fields


def text_of(response: HttpResponse) -> str:
    """What stands on the page, without tags, with single spaces. Digits below a cent follow theirs without a gap."""
    body = re.sub(r'<span class="sub">', "", response.content.decode())
    body = re.sub(r"<(script|style|svg|title).*?</\1>|<[^>]+>", " ", body.replace("</span>", ""), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(body))
