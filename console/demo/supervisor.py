"""Starts everything that the console needs on one machine, and ends all of it.

PostgreSQL, Valkey, the Stripe stand-in, web, gate, worker and beat are children of this process, each behind a shim
that ends it when this process goes away in any way. Nothing here runs in production.
"""

import argparse
import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from console.demo import ports, visitor
from console.demo.folders import CHECKOUT, DemoError, Folders, lock, prepare
from console.demo.people import BILLING_EMAIL, PASSWORD, PEOPLE, STAFF_TOTP_SECRET
from console.demo.processes import Processes
from console.local import children, postgres, valkey
from console.local.environment import encryption_key

WEB_PORT, GATE_PORT, STRIPE_PORT = 8000, 8001, 8420
PAGE_SECONDS_MAX = 60.0
BILLING_PATH = "/o/acme-robotics/settings/billing/"
OPTIONAL = ("gate", "worker", "beat")


def main() -> int:
    """Run the demo until a signal ends it; the exit status is 1 when it can't start or a process dies."""
    options = parsed()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Set, not inherited: a shell that starts this in the background ignores INT for it.
        signal.signal(number, interrupt)
    try:
        run(options)
    except KeyboardInterrupt:
        show("Stopped.")
    except (DemoError, postgres.PostgresUnavailable, valkey.ValkeyUnavailable, visitor.NotThere) as error:
        sys.stderr.write(f"./run: {error}\n")
        return 1
    return 0


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="./run", description="Set up and start the demo.")
    parser.add_argument("--port", type=int, help=f"the console's port; without it {WEB_PORT}, or another free one")
    parser.add_argument(
        "--ephemeral", action="store_true", help="with its own data and ports, all of it deleted at the end"
    )
    parser.add_argument("--folder", type=Path, default=CHECKOUT / "var", help="keep the data there instead of in var/")
    parser.add_argument("--ready-file", type=Path, help="write addresses and process numbers there, as JSON, when up")
    parser.add_argument(
        "--without", action="append", default=[], choices=OPTIONAL, help="leave a process out; may be repeated"
    )
    return parser.parse_args()


def interrupt(*_: object) -> None:
    """End the demo; a second signal must not cut the ending short."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def show(line: str = "") -> None:
    """Print a line; a terminal that went away doesn't stop the demo from ending well."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


@dataclass(frozen=True)
class Addresses:
    """Where the demo's processes listen."""

    web_port: int
    gate_port: int
    stripe_port: int

    @property
    def site(self) -> str:
        """The console. By name, since passkeys don't work on bare addresses."""
        return f"http://localhost:{self.web_port}"

    @property
    def gate(self) -> str:
        """The gate for the platform's gateway."""
        return f"http://localhost:{self.gate_port}"

    @property
    def stripe(self) -> str:
        """The Stripe stand-in."""
        return f"http://127.0.0.1:{self.stripe_port}"


def chosen_addresses(*, port: int | None, is_ephemeral: bool) -> Addresses:
    """Choose free ports. Errors: DemoError when the port that was asked for is busy."""
    if port is not None:
        if not 0 < port < 65536:
            raise DemoError(f"--port {port}: a port is between 1 and 65535.")
        if not ports.is_free(port):
            raise DemoError(f"Port {port} is busy. Choose another with --port, or leave it out.")
        web_port = port
    elif is_ephemeral:
        web_port = ports.any_free()
    else:
        web_port = ports.preferred(WEB_PORT)
        if web_port != WEB_PORT:
            show(f"Port {WEB_PORT} is busy, so the console takes {web_port}.")
    gate_port = ports.any_free() if is_ephemeral else ports.preferred(GATE_PORT)
    stripe_port = ports.any_free() if is_ephemeral else ports.preferred(STRIPE_PORT)
    while gate_port == web_port:
        gate_port = ports.any_free()
    while stripe_port in (web_port, gate_port):
        stripe_port = ports.any_free()
    return Addresses(web_port=web_port, gate_port=gate_port, stripe_port=stripe_port)


def run(options: argparse.Namespace) -> None:
    """Start everything, say where it is, and watch it."""
    began = time.monotonic()
    addresses = chosen_addresses(port=options.port, is_ephemeral=options.ephemeral)
    folders = prepare(None if options.ephemeral else options.folder)
    with contextlib.ExitStack() as stack:
        held = lock(folders)
        stack.callback(os.close, held)
        stack.callback(forget, folders)
        (folders.process_ids / "supervisor.pid").write_text(f"{os.getpid()}\n")
        if folders.postgres.parent != folders.base:
            show(f"The account nobody can't reach {folders.base}, so the databases live in {folders.postgres.parent}.")
        show(f"Starting; data in {folders.base}, logs in {folders.logs} ...")
        processes = Processes(folders, lock=held, show=show)
        environment = stack.enter_context(running_services(folders, addresses, processes=processes, held=held))
        services_seconds = time.monotonic() - began
        management("migrate", "--verbosity", "0", environment=environment)
        migrated_seconds = time.monotonic() - began
        commands = console_commands(addresses, environment=environment)
        start_console(processes, {"web": commands.pop("web")}, environment=environment)
        management("seed_demo", environment=environment)
        write_environment(folders, environment)
        visitor.wait_for_page(
            addresses.site,
            path=BILLING_PATH,
            email=BILLING_EMAIL,
            password=PASSWORD,
            seconds_max=PAGE_SECONDS_MAX,
            check=processes.refuse_the_ended,
        )
        page_seconds = time.monotonic() - began
        # After the page, so that on a small machine they don't keep the person at the browser waiting.
        wanted = {name: command for name, command in commands.items() if name not in options.without}
        start_console(processes, wanted, environment=environment)
        if "gate" not in options.without:
            visitor.wait_for(f"{addresses.gate}/healthz", seconds_max=30, check=processes.refuse_the_ended)
        show(
            f"First 200 of the Billing page after {page_seconds:.1f} s (services {services_seconds:.1f} s, migrations "
            f"{migrated_seconds - services_seconds:.1f} s, console {page_seconds - migrated_seconds:.1f} s)."
        )
        if installed := os.environ.get("CONSOLE_INSTALL_SECONDS"):
            show(f"Before that, {installed} s went into downloading and installing packages; the next start has none.")
        show_addresses(addresses, folders)
        if options.ready_file:
            write_ready_file(options.ready_file, addresses, folders, processes)
        while True:
            time.sleep(0.5)
            processes.refuse_the_ended()


@contextlib.contextmanager
def running_services(
    folders: Folders, addresses: Addresses, *, processes: Processes, held: int
) -> Iterator[dict[str, str]]:
    """Run PostgreSQL, Valkey and the Stripe stand-in, and yield the environment that the console needs."""
    account = children.unprivileged_account()
    base = demo_variables(folders, addresses)
    socket_folder = Path(tempfile.mkdtemp(prefix="console-valkey-", dir="/tmp"))
    if account:
        account.own(socket_folder)
    try:
        processes.start(
            "valkey",
            valkey.command(data_folder=folders.valkey, socket_folder=socket_folder, account=account),
            environment=child_environment(base),
            account=account,
            folder=Path("/"),
            remove=[socket_folder],
        )
        stripe = [sys.executable, "-m", "sandbox.stripe", "--port", str(addresses.stripe_port)]
        stripe += ["--folder", str(folders.stripe)]
        stripe += ["--webhook-url", f"{addresses.site}/webhooks/stripe/"]
        stripe += ["--webhook-secret", base["STRIPE_WEBHOOK_SECRET"]]
        stripe += ["--secret-key", base["STRIPE_SECRET_KEY"], "--publishable-key", base["STRIPE_PUBLISHABLE_KEY"]]
        processes.start("stripe", stripe, environment=child_environment(base), folder=CHECKOUT)
        with postgres.running(
            folders.postgres,
            fast=False,
            log=folders.logs / "postgres.log",
            pid_file=processes.pid_file("postgres"),
            # After a kill -9 of this process nobody else is left to delete the folder.
            remove_at_end=[folders.base] if folders.is_ephemeral else [],
            keep_open=[held],
        ) as server:
            processes.adopt("postgres", server.process)
            visitor.wait_for(f"{addresses.stripe}/_sandbox/health", seconds_max=30, check=processes.refuse_the_ended)
            try:
                yield base | {
                    "DATABASE_URL": server.app_url(),
                    "MIGRATE_DATABASE_URL": server.owner_url(),
                    "REDIS_URL": valkey.url(socket_folder),
                }
            finally:
                # The console and the services end while the database still answers.
                processes.end()
    finally:
        processes.end()
        shutil.rmtree(socket_folder, ignore_errors=True)


def demo_variables(folders: Folders, addresses: Addresses) -> dict[str, str]:
    """The variables that the settings read, without what only a running service knows."""
    keys = kept_secrets(folders.demo / "secrets.json")
    return {
        "DJANGO_SETTINGS_MODULE": "console.settings",
        "DEBUG": "false",
        "SECRET_KEY": keys["SECRET_KEY"],
        "MFA_ENCRYPTION_KEYS": keys["MFA_ENCRYPTION_KEYS"],
        "ALLOWED_HOSTS": "localhost,127.0.0.1",
        "SITE_URL": addresses.site,
        "GATE_URL": addresses.gate,
        "STRIPE_SECRET_KEY": keys["STRIPE_SECRET_KEY"],
        "STRIPE_PUBLISHABLE_KEY": keys["STRIPE_PUBLISHABLE_KEY"],
        "STRIPE_WEBHOOK_SECRET": keys["STRIPE_WEBHOOK_SECRET"],
        "STRIPE_API_BASE": addresses.stripe,
        "STRIPE_JS_URL": f"{addresses.stripe}/stripe.js",
        "SELLER_NAME": "Example Platform Inc.",
        "SELLER_ADDRESS": "1 Harbor Street|San Francisco, CA 94105|United States",
        "SELLER_TAX_ID": "EIN 12-3456789",
        "SELLER_EMAIL": "billing@example.com",
        "DEMO_FOLDER": str(folders.demo),
        "LEDGER_HEADS_FILE": str(folders.demo / "ledger-heads.jsonl"),
        "STATIC_ROOT": str(folders.base / "static"),
        "TRUSTED_PROXY_COUNT": "0",
        "SIGN_UP_IS_OPEN": "true",
    }


def child_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: the caller's, but for libpq's own variables, and the demo's over it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {
        **inherited,
        **variables,
        "PYTHONUNBUFFERED": "1",
        # Celery warns root about pickled tasks; these are JSON, on a socket of this user's own.
        "PYTHONWARNINGS": "ignore:You're running the worker",
    }


def kept_secrets(path: Path) -> dict[str, str]:
    """The demo's own keys, made at the first start and kept, so that sessions outlive a restart.

    A folder of an older version lacks some: those are made now.
    """
    made = {
        "SECRET_KEY": secrets.token_urlsafe(60),
        "MFA_ENCRYPTION_KEYS": encryption_key(),
        "STRIPE_SECRET_KEY": f"sk_test_{secrets.token_hex(16)}",
        "STRIPE_PUBLISHABLE_KEY": f"pk_test_{secrets.token_hex(16)}",
        "STRIPE_WEBHOOK_SECRET": f"whsec_{secrets.token_hex(16)}",
    }
    kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    if kept.keys() >= made.keys():
        return kept
    write_private(path, json.dumps(made | kept))
    return made | kept


def console_commands(addresses: Addresses, *, environment: Mapping[str, str]) -> dict[str, list[str]]:
    """What web, gate, worker and beat run."""
    python = [sys.executable, "-m"]
    gunicorn = [*python, "gunicorn", "--no-control-socket", "--worker-class", "gthread", "--workers", "1"]
    gunicorn += ["--threads", "8", "--log-level", "warning", "--graceful-timeout", "3"]
    celery = [*python, "celery", "--app", "console", "--quiet"]
    schedule = Path(environment["DEMO_FOLDER"]) / "beat-schedule"
    return {
        "web": [*gunicorn, "--bind", f"127.0.0.1:{addresses.web_port}", "console.wsgi"],
        "gate": [*gunicorn, "--bind", f"127.0.0.1:{addresses.gate_port}", "console.gateway_wsgi"],
        "worker": [
            *(*celery, "worker", "--pool", "threads", "--concurrency", "4", "--loglevel", "warning"),
            *("--without-gossip", "--without-mingle", "--hostname", "worker@localhost"),
        ],
        "beat": [*celery, "beat", "--loglevel", "warning", "--schedule", str(schedule), "--pidfile", ""],
    }


def start_console(processes: Processes, commands: Mapping[str, list[str]], *, environment: Mapping[str, str]) -> None:
    """Start processes of the console, each under its own name."""
    for name, command in commands.items():
        processes.start(
            name, command, environment=child_environment({**environment, "PROCESS_NAME": name}), folder=CHECKOUT
        )


def management(*arguments: str, environment: Mapping[str, str]) -> None:
    """Run one management command to its end. Errors: DemoError with its last lines."""
    command = [sys.executable, "manage.py", *arguments]
    result = subprocess.run(
        command, env=child_environment(environment), cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        last_lines = (result.stdout + result.stderr).strip().splitlines()[-12:]
        raise DemoError("\n".join([f"manage.py {arguments[0]} failed with status {result.returncode}:", *last_lines]))


def write_environment(folders: Folders, environment: Mapping[str, str]) -> None:
    """Write shell lines with which a management command talks to the running demo."""
    own = dict(environment)
    key = folders.demo / "service-key"
    if key.exists():
        own["GATE_SERVICE_KEY"] = key.read_text().strip()
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(own.items())]
    write_private(folders.environment, "".join(lines))


def write_ready_file(path: Path, addresses: Addresses, folders: Folders, processes: Processes) -> None:
    """Tell a program that the demo is up, where, and as which processes."""
    ready = {
        "address": addresses.site,
        "gate": addresses.gate,
        "stripe": addresses.stripe,
        "folder": str(folders.base),
        "environment": str(folders.environment),
        "pids": {"supervisor": os.getpid()} | processes.process_ids(),
    }
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.write_text(json.dumps(ready))
    unfinished.replace(path)


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, from its first byte on."""
    unfinished = path.with_name(f"{path.name}.new")
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    unfinished.replace(path)


def forget(folders: Folders) -> None:
    """Delete what describes a running demo; an ephemeral one has nothing else."""
    folders.environment.unlink(missing_ok=True)
    if folders.is_ephemeral:
        shutil.rmtree(folders.base, ignore_errors=True)


def show_addresses(addresses: Addresses, folders: Folders) -> None:
    """Tell the person at the terminal where everything is."""
    show()
    show(f"  Console       {addresses.site}/")
    show(f"  Mailbox       {addresses.site}/demo/mailbox/")
    show(f"  Staff         {addresses.site}/admin/")
    show(f"  Gate          {addresses.gate}/v1/   (service key in {folders.demo / 'service-key'})")
    show(f"  Stripe        {addresses.stripe}/   (a stand-in; card 4242 4242 4242 4242, any later date, any CVC)")
    show(f"  Banks, time   {addresses.stripe}/_sandbox/   (refunds, disputes, declines, Stripe's clock)")
    show()
    for person in PEOPLE:
        show(f"  {person.email:<24} {PASSWORD}   {person.role or 'staff'}")
    show(f"  Staff also need a code: {addresses.site}/demo/code/ (or an app, with the secret {STAFF_TOTP_SECRET})")
    show()
    if folders.is_ephemeral:
        show(f"  Folder        {folders.base} (deleted at the end)")
        show(f"  Commands      . {folders.environment}; ./run manage <command>")
    else:
        show("  Commands      ./run manage <command>, in a second terminal")
    show("  Ctrl-C stops everything.")
    show()
