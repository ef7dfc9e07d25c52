"""`python -m sandbox.stripe`: the stand-in as a process of its own, until it is told to stop."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from sandbox.stripe.server import LOOPBACK, StandIn


def main() -> int:
    """Serve until SIGTERM or SIGINT. Exit status 2 for a port or a folder that can't be used."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.stripe", description="A strict stand-in for Stripe, on loopback."
    )
    parser.add_argument("--host", default=LOOPBACK, help=f"only {LOOPBACK} is accepted")
    parser.add_argument("--port", type=int, required=True)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--folder", type=Path, help="keep everything here")
    place.add_argument("--memory", action="store_true", help="forget everything at the end")
    parser.add_argument("--webhook-url")
    parser.add_argument("--webhook-secret")
    parser.add_argument("--secret-key", help="accept this test key only")
    parser.add_argument("--publishable-key", help="accept this test key only")
    options = parser.parse_args()
    try:
        stand_in = StandIn(
            folder=options.folder,
            host=options.host,
            port=options.port,
            webhook_url=options.webhook_url,
            webhook_secret=options.webhook_secret,
            secret_key=options.secret_key,
            publishable_key=options.publishable_key,
        )
    except (OSError, ValueError) as error:
        print(f"The Stripe stand-in can't start: {error}", file=sys.stderr)
        return 2
    is_over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: is_over.set())
    with stand_in:
        print(f"Stripe stand-in on {stand_in.base_url}", flush=True)
        is_over.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
