"""Rules that neither the linters nor the import contracts can see. Each names the line that breaks it."""

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
APPS = ("accounts", "billing", "console")

LEDGER_MODELS = {"CreditAccount", "CreditLot", "Hold", "Charge", "LedgerEntry"}
LEDGER_TABLES = r"billing_(creditaccount|creditlot|hold|charge|ledgerentry)\b"
WRITES = {
    *("create", "bulk_create", "update", "bulk_update", "delete", "save"),
    *("get_or_create", "update_or_create", "acreate", "aupdate", "adelete", "asave"),
}
# Time enters here and is passed on; below, it is an argument.
ENTRY_POINTS = (
    "views/",
    "tasks.py",
    "admin",
    "api/",
    "management/",
    "checks.py",
    "access.py",
    "middleware/",
    # allauth's views and decorators call these, and no clock comes with the call.
    "emails.py",
    "reauthentication.py",
    "templatetags/",
    "purse.py",
)


def sources(*apps, tests=False):
    """The product's Python files, without migrations."""
    for app in apps or APPS:
        for path in sorted((CHECKOUT / app).rglob("*.py")):
            parts = path.relative_to(CHECKOUT).parts
            if "migrations" not in parts and ("tests" in parts) == tests:
                yield path


def place(path, line):
    """Where a rule is broken, as editors read it."""
    return f"{path.relative_to(CHECKOUT)}:{line}"


def names_in(node):
    """Every name and attribute below a node."""
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)} | {
        inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)
    }


def ledger_writes(tree):
    """Lines that call a writing method on a ledger model, directly or through its manager."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=method, value=target)) if method in WRITES:
                if names_in(target) & LEDGER_MODELS:
                    yield node.lineno
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            statement = rf"\b(INSERT INTO|UPDATE|DELETE FROM|TRUNCATE)\s+(TABLE\s+|ONLY\s+)?{LEDGER_TABLES}"
            if re.search(statement, node.value, flags=re.IGNORECASE):
                yield node.lineno


def float_uses(tree):
    """Lines that make or handle a float."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
            yield node.lineno
        if isinstance(node, ast.Constant) and type(node.value) is float:
            yield node.lineno
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and is_about_money(node):
            yield node.lineno


def is_about_money(division):
    """Whether a division has an amount in it, or divides by a power of ten. Paths and durations are divided too."""
    amounts = re.compile(r"nano|cents|amount|balance|price|credit|usd", flags=re.IGNORECASE)
    return any(map(amounts.search, names_in(division))) or bool(re.fullmatch(r"10+", ast.unparse(division.right)))


def clock_reads(tree):
    """Lines that ask for the time."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = ast.unparse(node.func)
            if called in {
                *("timezone.now", "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time"),
                *("timezone.localtime", "timezone.localdate", "datetime.datetime.now", "datetime.date.today"),
            }:
                yield node.lineno


def imports(tree):
    """Every imported module, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def broken(paths, rule):
    """The places where a rule is broken."""
    return [place(path, line) for path in paths for line in sorted(set(rule(ast.parse(path.read_text()))))]


def test_only_the_ledger_writes_ledger_rows():
    paths = [path for path in sources() if path != CHECKOUT / "billing" / "credits" / "ledger.py"]
    assert broken(paths, ledger_writes) == []


def money_sources():
    """Modules where amounts are computed or formatted: billing, without drawing and without programs for people."""
    apart = ("management", "charts.py", "pdf.py", "api")
    for path in sources("billing"):
        if not any(part in apart for part in path.relative_to(CHECKOUT).parts):
            yield path


def test_money_is_never_a_float():
    assert broken(money_sources(), float_uses) == []


def test_below_the_entry_points_the_time_is_an_argument():
    paths = [
        path
        for path in sources("accounts", "billing")
        if not path.relative_to(CHECKOUT).as_posix().split("/", 1)[1].startswith(ENTRY_POINTS)
    ]
    assert broken(paths, clock_reads) == []


def test_migrations_import_no_live_code():
    allowed = re.compile(r"(billing\.credits\.sql|django\b)")
    found = []
    for app in APPS:
        for path in sorted((CHECKOUT / app).glob("migrations/*.py")):
            for line, module in imports(ast.parse(path.read_text())):
                if module.split(".")[0] in APPS and not allowed.match(module):
                    found.append(place(path, line))
    assert found == []


INLINE = re.compile(
    r"\sstyle\s*=|<style\b|\son\w+\s*=\s*[\"']|javascript:|<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")",
    flags=re.IGNORECASE,
)


def test_templates_have_no_inline_style_or_script():
    found = []
    for path in sorted(CHECKOUT.glob("templates/**/*.html")):
        text = re.sub(r"{#.*?#}|{% comment %}.*?{% endcomment %}", "", path.read_text(), flags=re.DOTALL)
        found += [place(path, text[: match.start()].count("\n") + 1) for match in INLINE.finditer(text)]
    assert found == []


def test_no_module_is_a_drawer():
    drawers = {"utils", "util", "helpers", "helper", "services", "service", "common", "misc", "lib"}
    assert [place(path, 1) for path in sources() if {path.stem, *path.parts} & drawers] == []


@pytest.mark.parametrize(
    ("rule", "planted", "innocent"),
    [
        (ledger_writes, "CreditLot.objects.filter(pk=1).update(remaining_nano=5)", "CreditLot.objects.filter(pk=1)"),
        (ledger_writes, 'cursor.execute("update billing_hold set x = 1")', 'cursor.execute("select billing_hold.id")'),
        (float_uses, "float(amount_cents)", "int(amount_cents)"),
        (float_uses, "amount_cents / 100", "amount_cents // 100"),
        (float_uses, "amount_cents / parts", "folder / name"),
        (float_uses, "value / 1000", "age / 20"),
        (float_uses, "amount_cents * 0.01", "amount_cents * 1"),
        (clock_reads, "timezone.now()", "at"),
        (clock_reads, "datetime.now(UTC)", "datetime(2026, 1, 1)"),
    ],
)
def test_each_rule_sees_what_it_forbids(rule, planted, innocent):
    assert list(rule(ast.parse(planted))) == [1]
    assert list(rule(ast.parse(innocent))) == []


@pytest.mark.parametrize(
    "planted",
    ['<p style="color:red">', "<style>", '<a onclick="x()">', "<script>x()</script>", '<a href="javascript:x">'],
)
def test_the_template_rule_sees_inline_code(planted):
    assert INLINE.search(planted)


def test_the_template_rule_lets_files_and_data_pass():
    assert not INLINE.search('<script src="/static/menu.js" defer></script><script type="application/json">{}</script>')


@pytest.mark.django_db
def test_functions_with_their_owners_rights_fix_their_search_path():
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace"
            " AND p.prosecdef AND NOT EXISTS ("
            "   SELECT 1 FROM unnest(p.proconfig) setting WHERE setting LIKE 'search\\_path=%'"
            " )"
        )
        assert cursor.fetchall() == []
