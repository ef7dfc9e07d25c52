"""The Chromium that the browser tests use: one that is on the machine, never one that is downloaded."""

import os
import shutil

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
MISSING = (
    "no Chromium was found: apt-get install chromium (macOS: brew install --cask chromium), or set BROWSER_PATH to one"
)
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_browser() -> str | None:
    """The browser's path: BROWSER_PATH, else the first of the usual names; None without one."""
    if named := os.environ.get("BROWSER_PATH"):
        return shutil.which(named)
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def launch_flags() -> list[str]:
    """Flags for a quiet start; root can't have Chromium's own sandbox."""
    return [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
