"""The demo's first visitor: logs in over HTTP as a person would and waits for the Billing page."""

import http.cookiejar
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class NotThere(Exception):
    """The page didn't come; the text says what came instead."""


def wait_for(address: str, *, seconds_max: float, check: Callable[[], None]) -> None:
    """Ask `address` until it answers 200. `check` raises when waiting is in vain. Errors: NotThere."""
    until(lambda: fetch(urllib.request.build_opener(), address), seconds_max=seconds_max, check=check)


def wait_for_page(
    site: str, *, path: str, email: str, password: str, seconds_max: float, check: Callable[[], None]
) -> None:
    """Log in and open `path` until it answers 200. Errors: NotThere."""

    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    login = f"{site}/accounts/login/"
    until(lambda: fetch(opener, login), seconds_max=seconds_max, check=check)
    token = TOKEN.search(fetch(opener, login))
    if token is None:
        raise NotThere(f"{login} has no log-in form")
    form = {"csrfmiddlewaretoken": token[1], "login": email, "password": password, "next": "/demo/mailbox/"}
    headers = {"Referer": login, "Origin": site}
    fetch(opener, urllib.request.Request(login, urllib.parse.urlencode(form).encode(), headers))
    until(lambda: fetch(opener, site + path), seconds_max=seconds_max, check=check)


def until(visit: Callable[[], object], *, seconds_max: float, check: Callable[[], None]) -> None:
    """Repeat `visit` until it doesn't raise. Errors: NotThere, with what the last visit met."""
    deadline = time.monotonic() + seconds_max
    while True:
        try:
            visit()
        except (NotThere, OSError) as error:
            check()
            if time.monotonic() > deadline:
                raise NotThere(str(error)) from error
            time.sleep(0.05 if isinstance(error, urllib.error.URLError) else 0.2)
        else:
            return


def fetch(opener: urllib.request.OpenerDirector, request: str | urllib.request.Request) -> str:
    """The body of a page that answers 200 without sending the visitor to the log-in page. Errors: NotThere, OSError."""
    wanted = request if isinstance(request, str) else request.full_url
    try:
        with opener.open(request, timeout=15) as answer:
            if "/accounts/login" in answer.url and "/accounts/login" not in wanted:
                raise NotThere(f"{wanted} asks for a log-in")
            body: str = answer.read().decode()
            return body
    except urllib.error.HTTPError as error:
        raise NotThere(f"{wanted} answers {error.code}") from error
