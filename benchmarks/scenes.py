"""What is measured, and on what data. A scene is a database of its own with the clients that work on it."""

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from benchmarks import fill
from benchmarks.client import BATCH_EVENTS
from benchmarks.figures import READS
from benchmarks.processes import ROOT, Measured, Worker, python, together
from benchmarks.server import Bench

CLIENTS = 4
PEERS = {"nostro_hot": "peer_nostro", "hordak_hot": "peer_hordak"}
# Their own past is a tenth of ours: they make it one by one, and hordak sums all of it for each charge.
PEER_CHARGES_MAX = 10_000

Side = Callable[[], Measured]
Sides = Mapping[str, Side]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is made first, and how long each measurement takes."""

    milliseconds: int
    rounds: int
    charges: int
    lots: int
    organizations: int
    many_lots: int
    few_entries: int
    many_entries: int
    due_lots: int
    all_lots: int


class Stage:
    """What a scene needs to make its databases and clients, and what is ended with it."""

    def __init__(self, bench: Bench, sizes: Sizes, *, seed: int, stack: contextlib.ExitStack) -> None:
        self.bench = bench
        self.sizes = sizes
        self._stack = stack
        self._seed = seed
        # The same seed twice would repeat the keys, and a repeated charge is no charge.
        self._seeds = itertools.count(seed)

    def database(self, name: str, *, template: str = "console") -> str:
        """A database that goes with the scene."""
        self.bench.create(name, template=template)
        self._stack.callback(self.bench.drop, name)
        return name

    def workers(self, commands: Sequence[list[str]], *, environment: Mapping[str, str]) -> list[Worker]:
        """Processes that go with the scene, ready and with durable sessions."""
        started = [Worker(command, environment=environment) for command in commands]
        for worker in started:
            self._stack.callback(worker.end)
        for worker in started:
            worker.check_durability()
        return started

    def product(self, database: str, *, count: int = 1) -> list[Worker]:
        """Clients of the product."""
        commands = [python("client", f"{self._seed}-{next(self._seeds)}") for _ in range(count)]
        return self.workers(commands, environment=self.bench.environment(database))

    def peer(self, module: str, database: str, *, interpreter: str = sys.executable, count: int = 1) -> list[Worker]:
        """Clients of another ledger, as the owner of its own database."""
        address = self.bench.server.owner_url(database)
        commands = [
            python(module, f"{self._seed}-{next(self._seeds)}", address, interpreter=interpreter) for _ in range(count)
        ]
        inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        return self.workers(commands, environment=inherited)

    def establish(self, database: str, *, lots: int, charges: int, slugs: Sequence[str] = ("bench",)) -> list[int]:
        """Organizations that the shipped calls made, by a process that ends with it. Returns their ids."""
        worker = Worker(python("client", "establish"), environment=self.bench.environment(database))
        try:
            worker.check_durability()
            answers = [worker.ask("establish", slug=slug, lots=lots, charges=charges) for slug in slugs]
        finally:
            worker.end()
        return [int(answer["organization_id"]) for answer in answers]

    def pgbench(self, script: str, database: str, *, clients: int, milliseconds: int | None = None) -> Side:
        """A side that pgbench drives."""
        length = milliseconds or self.sizes.milliseconds

        def side() -> Measured:
            return self.bench.pgbench(script, database, clients=clients, milliseconds=length, seed=next(self._seeds))

        return side

    def repeated(
        self, workers: list[Worker], operation: str, *, organizations: tuple[int, int], milliseconds: int | None = None
    ) -> Side:
        """A side that clients of the product make."""
        order = {
            "operation": operation,
            "milliseconds": milliseconds or self.sizes.milliseconds,
            "organizations": organizations,
        }
        return partial(together, workers, order)


@contextlib.contextmanager
def hot(stage: Stage, wanted: Set[str]) -> Iterator[Sides]:
    """One organization in use, and everything that is compared with a charge on it."""
    sizes = stage.sizes
    database = stage.database("hot")
    (organization,) = stage.establish(database, lots=sizes.lots, charges=sizes.charges)
    both = (organization, organization)
    stage.bench.build_floor(database, accounts=1, charges=sizes.charges)
    stage.bench.write_function_script(database, organizations=both)
    sides: dict[str, Side] = {}
    if "naive_orm_hot_c4" in wanted:
        sides["naive_orm_hot_c4"] = _naive_orm(stage)
    for peer in PEERS:
        if any(side.startswith(peer) for side in wanted):
            sides |= _peer(stage, peer)
    stage.bench.settle(database)
    clients = stage.product(database, count=CLIENTS)
    half = max(1, sizes.milliseconds // 2)
    for count in (1, CLIENTS):
        sides[f"floor_hot_c{count}"] = stage.pgbench("floor", database, clients=count)
        sides[f"function_hot_c{count}"] = stage.pgbench("function", database, clients=count, milliseconds=half)
        sides[f"charge_hot_c{count}"] = stage.repeated(clients[:count], "charge", organizations=both)
    sides["batch100_hot_c1"] = stage.repeated(clients[:1], "batch", organizations=both)
    sides["authorize_capture_hot_c1"] = stage.repeated(clients[:1], "authorize_capture", organizations=both)
    yield sides


def _naive_orm(stage: Stage) -> Side:
    database = stage.database("naive_orm", template="template0")
    clients = stage.peer("naive_orm", database, count=CLIENTS)
    account = clients[0].ask("establish", lots=stage.sizes.lots, charges=stage.sizes.charges)["account_id"]
    stage.bench.settle(database)
    order = {"operation": "charge", "milliseconds": stage.sizes.milliseconds, "account": account}
    return partial(together, clients, order)


def peers_interpreter() -> Path:
    """The Python that has the other ledgers; `./run bench` makes it."""
    return ROOT / os.environ.get("BENCH_VENV", ".venv-bench") / "bin" / "python"


def _peer(stage: Stage, peer: str) -> Sides:
    """Another ledger, with one client and with as many as everybody."""
    module = PEERS[peer]
    database = stage.database(module, template="template0")
    clients = stage.peer(module, database, interpreter=str(peers_interpreter()), count=CLIENTS)
    established = clients[0].ask("establish", lots=stage.sizes.lots, charges=min(PEER_CHARGES_MAX, stage.sizes.charges))
    stage.bench.settle(database)
    order = {"operation": "charge", "milliseconds": stage.sizes.milliseconds, "account": established["account_id"]}
    order |= {"income": established.get("income_id")}
    sides = {f"{peer}_c{count}": partial(together, clients[:count], order) for count in (1, CLIENTS)}
    if peer == "nostro_hot":
        sides["nostro_hot_unasked_c1"] = partial(together, clients[:1], order | {"operation": "charge_unasked"})
    return sides


@contextlib.contextmanager
def wide(stage: Stage, wanted: Set[str]) -> Iterator[Sides]:
    """Many organizations with ten lots and their share of the charges each."""
    sizes = stage.sizes
    database = stage.database("wide")
    each = max(1, sizes.charges // sizes.organizations)
    (organization,) = stage.establish(database, lots=sizes.lots, charges=each)
    with stage.bench.superuser(database) as superuser:
        organizations = fill.add_organizations(superuser, organization, sizes.organizations - 1)
    stage.bench.build_floor(database, accounts=sizes.organizations, charges=each * sizes.organizations)
    stage.bench.write_function_script(database, organizations=organizations)
    stage.bench.settle(database)
    clients = stage.product(database, count=CLIENTS)
    half = max(1, sizes.milliseconds // 2)
    yield {
        f"floor_wide_c{CLIENTS}": stage.pgbench("floor", database, clients=CLIENTS),
        f"function_wide_c{CLIENTS}": stage.pgbench("function", database, clients=CLIENTS, milliseconds=half),
        f"charge_wide_c{CLIENTS}": stage.repeated(clients, "charge", organizations=organizations),
    }


@contextlib.contextmanager
def lots(stage: Stage, wanted: Set[str]) -> Iterator[Sides]:
    """One organization with few open lots, and one with many."""
    sizes = stage.sizes
    database = stage.database("lots")
    few, many = stage.establish(database, lots=sizes.lots, charges=100, slugs=("few", "many"))
    with stage.bench.superuser(database) as superuser:
        fill.add_lots(superuser, many, sizes.many_lots - sizes.lots)
    stage.bench.settle(database)
    client = stage.product(database)
    yield {
        "charge_lots_few": stage.repeated(client, "charge", organizations=(few, few)),
        "charge_lots_many": stage.repeated(client, "charge", organizations=(many, many)),
    }


@contextlib.contextmanager
def entries(stage: Stage, wanted: Set[str]) -> Iterator[Sides]:
    """One organization with a short history, and one with a long one; both cover the same thirty days."""
    sizes = stage.sizes
    database = stage.database("entries")
    # Measuring makes entries too: each round charges a short history of its own, and reads have one to themselves.
    slugs = ["many", "few", *(f"few-{number}" for number in range(sizes.rounds + 1))]
    many, few, *fresh = stage.establish(database, lots=sizes.lots, charges=1, slugs=slugs)
    with stage.bench.superuser(database) as superuser:
        fill.add_charges(superuser, many, sizes.many_entries - sizes.lots - 1)
        for organization in (few, *fresh):
            fill.add_charges(superuser, organization, sizes.few_entries - sizes.lots - 1)
    stage.bench.settle(database)
    client = stage.product(database)
    on_fresh = (stage.repeated(client, "charge", organizations=(one, one)) for one in fresh)
    sides: dict[str, Side] = {
        "charge_entries_few": lambda: next(on_fresh)(),
        "charge_entries_many": stage.repeated(client, "charge", organizations=(many, many)),
    }
    short = max(1, sizes.milliseconds // 4)
    for name, organization in (("few", few), ("many", many)):
        for read in READS:
            both = (organization, organization)
            sides[f"{read}_{name}"] = stage.repeated(client, read, organizations=both, milliseconds=short)
    yield sides


@contextlib.contextmanager
def expiry(stage: Stage, wanted: Set[str]) -> Iterator[Sides]:
    """Many lots of many organizations, of which some end: all in one organization, or one in each."""
    sizes = stage.sizes
    database = stage.database("expiry")
    (organization,) = stage.establish(database, lots=1, charges=0)
    with stage.bench.superuser(database) as superuser:
        # Each round lets other lots of the first organization end, and so does the round that warms up.
        organizations = fill.add_organizations(superuser, organization, sizes.due_lots - 1)
        fill.spread_lots(superuser, organizations, first_has=sizes.due_lots * (sizes.rounds + 1), total=sizes.all_lots)
    stage.bench.settle(database)
    (client,) = stage.product(database)
    in_one = f"SELECT id FROM billing_creditlot WHERE is_open AND organization_id = {organization} ORDER BY id"
    in_each = "SELECT min(id) FROM billing_creditlot WHERE is_open GROUP BY organization_id ORDER BY 1"

    def sweep(condition: str) -> Measured:
        with stage.bench.superuser(database) as superuser:
            ended = fill.let_lots_end(superuser, condition, count=sizes.due_lots)
            superuser.execute("VACUUM ANALYZE billing_creditlot")
            superuser.execute("CHECKPOINT")
        answer = client.ask("sweep", lots=ended)
        return Measured(
            per_second=Fraction(ended * 1_000_000, max(1, answer["microseconds"])),
            microseconds=answer["microseconds"],
            longest_microseconds=answer["longest_microseconds"],
        )

    yield {"expiry_one": partial(sweep, in_one), "expiry_spread": partial(sweep, in_each)}


Scene = Callable[[Stage, Set[str]], contextlib.AbstractContextManager[Sides]]
SCENES: dict[str, Scene] = {"hot": hot, "wide": wide, "lots": lots, "entries": entries, "expiry": expiry}

# Measured beside the figures of a scene, because they say what limits them.
EXTRAS = {
    "hot": ("function_hot_c1", f"function_hot_c{CLIENTS}"),
    "wide": (f"function_wide_c{CLIENTS}",),
}

# Measured beside another side.
COMPANIONS = {"nostro_hot_c1": ("nostro_hot_unasked_c1",)}

LABELS = {
    "floor": "floor: pgbench, UPDATE + INSERT in one statement",
    "function": "the charge function, from pgbench",
    "charge": "the shipped charge",
    "batch100": f"the shipped charge_many, {BATCH_EVENTS} a call",
    "authorize": "the shipped authorize and capture",
    "naive": "naive ORM: atomic, select_for_update, loop over lots",
    "nostro": "hf-nostro",
    "hordak": "django-hordak",
    "page": "newest page of the statement",
    "balance": "balance",
    "usage": "30 days of usage by day and model",
    "expiry": "lots booked by the expiry sweep",
}
