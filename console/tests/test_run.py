"""./run itself: what it starts, what it says, and that no way of ending it leaves a process or loses data."""

import re
import shlex
import shutil
import signal
import stat
import subprocess
import urllib.request
from pathlib import Path

import psycopg
import pytest

from console.demo import visitor
from console.demo.people import PASSWORD, PEOPLE
from console.tests.demo_runs import CHECKOUT, clean_environment, remove_databases_kept_elsewhere, running_demo

pytestmark = pytest.mark.slow


def variables_of(path):
    """The variables of a demo's environment file, read as a shell reads it."""
    assignments = (shlex.split(line)[1].split("=", 1) for line in Path(path).read_text().splitlines())
    return dict(assignments)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One ephemeral demo for the tests that only look at it."""
    with running_demo(tmp_path_factory.mktemp("demo"), "--ephemeral") as run:
        yield run


def run(*arguments, **changes):
    """One call of ./run that ends by itself."""
    return subprocess.run(
        ["./run", *arguments],
        cwd=CHECKOUT,
        env=clean_environment() | changes,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_it_prints_addresses_log_ins_and_the_seconds_to_the_billing_page(demo):
    assert re.search(r"First 200 of the Billing page after \d+\.\d s", demo.output)
    assert f"{demo.ready['address']}/demo/mailbox/" in demo.output
    for person in PEOPLE:
        assert re.search(rf"{re.escape(person.email)}\s+{PASSWORD}", demo.output)


@pytest.mark.parametrize("person", PEOPLE, ids=[person.email for person in PEOPLE])
def test_everyone_who_is_printed_can_log_in(demo, person):
    visitor.wait_for_page(
        demo.ready["address"],
        path="/accounts/password/change/",
        email=person.email,
        password=PASSWORD,
        seconds_max=5,
        check=lambda: None,
    )


def test_every_process_is_a_child_and_answers(demo):
    assert set(demo.ready["pids"]) == {"supervisor", "postgres", "valkey", "stripe", "web", "gate", "worker", "beat"}
    assert set(demo.ready["pids"].values()) <= {process.pid for process in demo.tree()}
    for address in (demo.ready["address"] + "/healthz", demo.ready["gate"] + "/healthz"):
        assert urllib.request.urlopen(address, timeout=10).status == 200


def test_its_keys_are_readable_by_its_user_only(demo):
    environment = Path(demo.ready["environment"])
    for path in (environment, environment.with_name("service-key"), environment.with_name("secrets.json")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(environment.parent.stat().st_mode) == 0o700
    assert variables_of(environment)["GATE_SERVICE_KEY"].startswith("ck_gate_")


def test_a_management_command_talks_to_it_as_the_runtime_role(demo):
    variables = variables_of(demo.ready["environment"])
    answer = run("manage", "check", "--database", "default", "--fail-level", "WARNING", **variables)
    assert answer.returncode == 0, answer.stderr
    with psycopg.connect(variables["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("console_app",)


def test_every_mail_can_be_read_in_the_mailbox(demo):
    text = "Your receipt: http://localhost/receipts/1?a=1&b=2"
    code = f"from django.core.mail import send_mail; send_mail('25 dollars', {text!r}, None, ['bela@acme.example'])"
    sent = run("manage", "shell", "--no-imports", "-c", code, **variables_of(demo.ready["environment"]))
    assert sent.returncode == 0, sent.stderr
    mailbox = demo.ready["address"] + "/demo/mailbox/"
    page = urllib.request.urlopen(mailbox, timeout=10).read().decode()
    (link,) = re.findall(r'href="(/demo/mailbox/[^"]+)">25 dollars<', page)
    mail = urllib.request.urlopen(demo.ready["address"] + link, timeout=10).read().decode()
    assert "bela@acme.example" in mail
    assert '<a href="http://localhost/receipts/1?a=1&amp;b=2"' in mail


def test_an_owner_or_a_superuser_is_refused(demo):
    variables = variables_of(demo.ready["environment"])
    owner_url = variables["MIGRATE_DATABASE_URL"]
    for url, text in ((owner_url, "owns the database"), (owner_url.replace("_owner", "_superuser"), "a superuser")):
        refused = run("manage", "check", "--database", "default", **(variables | {"DATABASE_URL": url}))
        assert refused.returncode != 0
        assert text in refused.stderr
        served = subprocess.run(
            [CHECKOUT / ".venv/bin/python", "-c", "import console.wsgi"],
            cwd=CHECKOUT,
            env=variables | {"DATABASE_URL": url, "IS_OWNER_COMMAND": "true"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert served.returncode != 0
        assert text in served.stderr


def test_a_busy_port_is_one_clear_line(demo):
    port = demo.ready["address"].rpartition(":")[2]
    refused = run("--port", port)
    assert refused.returncode == 1
    assert refused.stderr.strip() == f"./run: Port {port} is busy. Choose another with --port, or leave it out."


def test_kill_9_leaves_no_process_and_no_folder(tmp_path):
    with running_demo(tmp_path, "--ephemeral") as demo:
        assert demo.end(signal.SIGKILL) == []
        assert not Path(demo.ready["folder"]).exists()


def test_a_second_start_keeps_the_data_of_the_console_and_of_the_stand_in(tmp_path):
    data = tmp_path / "data"
    output = ""
    try:
        with running_demo(tmp_path, "--folder", str(data)) as first:
            output = first.output
            variables = variables_of(first.ready["environment"])
            customer = stripe_call(variables, "/v1/customers", data=b"email=kept%40acme.example")
            with psycopg.connect(variables["DATABASE_URL"]) as connection:
                connection.execute("UPDATE accounts_organization SET name = 'Kept' WHERE slug = 'acme-robotics'")
            refused = run("--folder", str(data))
            assert refused.returncode == 1
            assert "already runs on" in refused.stderr
            assert Path(first.ready["environment"]).exists()
            assert first.end(signal.SIGTERM) == []
        with running_demo(tmp_path, "--folder", str(data)) as second:
            variables = variables_of(second.ready["environment"])
            with psycopg.connect(variables["DATABASE_URL"]) as connection:
                names = connection.execute("SELECT name FROM accounts_organization ORDER BY name").fetchall()
                keys = connection.execute("SELECT count(*) FROM accounts_servicekey").fetchone()
            assert [name for (name,) in names] == ["Borealis Labs", "Kept"]
            assert keys == (1,)
            assert stripe_call(variables, f"/v1/customers/{customer_id(customer)}") == customer
            assert second.end(signal.SIGINT) == []
            assert not Path(second.ready["environment"]).exists()
    finally:
        remove_databases_kept_elsewhere(output)


def stripe_call(variables, path, *, data=None):
    """Call the stand-in as the console would, without the SDK."""
    headers = {"Authorization": f"Bearer {variables['STRIPE_SECRET_KEY']}"}
    request = urllib.request.Request(variables["STRIPE_API_BASE"] + path, data, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def customer_id(customer):
    """The id in a customer as the stand-in answered it."""
    return re.search(r"cus_\w+", customer)[0]


def test_without_python_it_says_what_to_install(tmp_path):
    refused = run("test", VENV=str(tmp_path / "venv"), PATH=tools_without_python(tmp_path))
    assert refused.returncode == 1
    assert "Python 3.11 or newer is needed" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 2


def test_without_the_venv_module_it_says_what_to_install(tmp_path):
    tools = Path(tools_without_python(tmp_path))
    python = tools / "python3"
    # A Python whose venv module is missing, as Debian's is without python3-venv.
    python.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\nexit 0\n')
    python.chmod(0o755)
    refused = run("test", VENV=str(tmp_path / "venv"), PATH=str(tools))
    assert refused.returncode == 1
    assert "venv module is missing" in refused.stderr


def tools_without_python(folder):
    """A PATH with what a bare machine has."""
    tools = folder / "tools"
    tools.mkdir()
    for name in ("sh", "cat", "cksum", "date", "sed", "rm", "mkdir"):
        (tools / name).symlink_to(shutil.which(name))
    return str(tools)


def test_a_missing_browser_is_an_error_where_one_is_required():
    refused = run("test", REQUIRE_BROWSER="1", BROWSER_PATH="/nonexistent")
    assert refused.returncode == 2
    assert "apt-get install chromium" in refused.stderr


def test_without_a_browser_its_tests_are_skipped_and_say_what_to_install():
    skipped = run("test", "console/tests/browser", "-q", "-rs", BROWSER_PATH="/nonexistent")
    assert skipped.returncode == 0, skipped.stdout
    assert " skipped" in skipped.stdout
    assert "passed" not in skipped.stdout
    assert "apt-get install chromium" in skipped.stdout


def test_a_refusal_of_the_settings_is_one_line():
    refused = run("manage", "check", DATABASE_URL="postgresql://console_app@localhost/console", SECRET_KEY="short")
    assert refused.returncode == 1
    assert refused.stderr.startswith("manage.py: SECRET_KEY is weak")
    assert "Traceback" not in refused.stderr


def test_an_unknown_command_shows_the_usage():
    refused = run("tset")
    assert refused.returncode == 2
    assert "unknown command 'tset'" in refused.stderr
    assert "./run test" in refused.stderr
