"""Second factors as a person uses them in a browser: an app for codes, recovery codes, and passkeys.

Pages are Playwright's. A passkey lives in a virtual authenticator of Chromium (WebAuthn in its DevTools protocol) that
holds keys and checks its owner as a phone would. Codes are those of the real clock: each works once, so the next one
may have to be waited for.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from playwright.sync_api import CDPSession, Page, expect

from accounts.tests import cast

PERIOD_SECONDS = 30
# A code taken in the last moments of its period would run out on the way.
MARGIN_SECONDS = 3


@dataclass(kw_only=True)
class App:
    """An authenticator app: it shows each code once."""

    secret: str
    _shown: set[int] = field(default_factory=set)

    def code(self) -> str:
        """A code that is good for a while and was not shown before; waits for the next period if need be."""
        while True:
            counter, age_seconds = divmod(time.time(), PERIOD_SECONDS)
            if int(counter) not in self._shown and age_seconds < PERIOD_SECONDS - MARGIN_SECONDS:
                self._shown.add(int(counter))
                return str(format_hotp_value(hotp_value(self.secret, int(counter))))
            time.sleep(0.2)


def sign_in(page: Page, email: str, *, password: str = cast.PASSWORD, app: App | None = None) -> None:
    """Sign in at the sign-in page, where the page is or by going there; with ``app``, by its code too."""
    if "/accounts/login/" not in page.url:
        page.goto("/accounts/login/")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    if app is not None:
        give_code(page, app.code())


def give_code(page: Page, code: str) -> None:
    """Answer the second step with a code of an app or a recovery code."""
    expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    page.get_by_label("Code from your app").fill(code)
    page.get_by_role("button", name="Sign in", exact=True).click()


def confirm_password(page: Page, *, password: str = cast.PASSWORD) -> None:
    """Answer the question who one is, where it is asked."""
    if page.get_by_role("heading", name="Confirm that it is you").count():
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Confirm").click()


def set_up_app(page: Page) -> tuple[App, list[str]]:
    """Set up an app, from the page of its QR code on; returns it and the recovery codes, on whose page one is then."""
    expect(page.get_by_role("heading", name="Set up an authenticator app")).to_be_visible()
    page.get_by_text("Can't scan it?").click()
    app = App(secret=page.locator("#secret").inner_text())
    page.get_by_label("Code that the app shows").fill(app.code())
    page.get_by_role("button", name="Switch it on").click()
    return app, recovery_codes(page)


def recovery_codes(page: Page) -> list[str]:
    """The codes on the page that shows them."""
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    codes = page.get_by_role("list", name="Recovery codes").get_by_role("listitem").all_inner_texts()
    assert all(re.fullmatch(r"\d{8}", code) for code in codes)
    return codes


class Authenticator:
    """A virtual authenticator in the page's browser. Its keys can be carried to another page, as a phone would be."""

    def __init__(self, page: Page) -> None:
        self._session: CDPSession = page.context.new_cdp_session(page)
        self._session.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        added = self._session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        self._id: str = added["authenticatorId"]

    def credentials(self) -> list[dict[str, Any]]:
        """The keys it holds."""
        held = self._session.send("WebAuthn.getCredentials", {"authenticatorId": self._id})
        return list(held["credentials"])

    def hold(self, credentials: list[dict[str, Any]]) -> None:
        """Hold keys that another authenticator made."""
        for credential in credentials:
            self._session.send("WebAuthn.addCredential", {"authenticatorId": self._id, "credential": credential})

    def recognise_owner(self, is_recognised: bool) -> None:
        """Whether the finger on the sensor is the right one."""
        values = {"authenticatorId": self._id, "isUserVerified": is_recognised}
        self._session.send("WebAuthn.setUserVerified", values)


def add_passkey(page: Page, *, name: str = "") -> None:
    """Add a passkey, from its page on. The page needs an ``Authenticator``."""
    expect(page.get_by_role("heading", name="Add a passkey")).to_be_visible()
    if name:
        page.get_by_role("textbox", name="Name").fill(name)
    page.get_by_role("button", name="Add a passkey").click()


def sign_in_with_passkey(page: Page) -> None:
    """Sign in by passkey alone. The page needs an ``Authenticator`` that holds one."""
    page.goto("/accounts/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
