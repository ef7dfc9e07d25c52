"""Everything the stand-in remembers, in one SQLite database: in a folder, or in memory.

One request is one transaction: its objects, events, journal entries and idempotency record are kept together or not at
all, also when the process is killed. The clock stands here too, because it can be moved and that is remembered.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import sqlite3
import string
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sandbox.stripe.errors import Fields, no_such

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    customer TEXT,
    created INTEGER NOT NULL,
    body TEXT NOT NULL,
    hidden TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (kind, position);
CREATE INDEX IF NOT EXISTS objects_by_customer ON objects (customer, kind, position) WHERE customer IS NOT NULL;
CREATE TABLE IF NOT EXISTS idempotency (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    request TEXT NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    headers TEXT NOT NULL,
    created REAL NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX IF NOT EXISTS idempotency_by_age ON idempotency (created);
CREATE TABLE IF NOT EXISTS journal (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    entry TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    event TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_at REAL NOT NULL,
    last_status TEXT
);
CREATE INDEX IF NOT EXISTS deliveries_by_time ON deliveries (state, next_at);
CREATE TABLE IF NOT EXISTS plans (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    due_at REAL NOT NULL,
    happening TEXT NOT NULL,
    subject TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, *, length: int = 24) -> str:
    """An unguessable id such as `pi_3a…`."""
    return f"{prefix}_" + random_text(length)


def random_text(length: int) -> str:
    """Unguessable letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _claimed(folder: Path) -> IO[str]:
    """The folder's lock, which the kernel lets go of even when the process is killed."""
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ValueError(f"another stand-in is using {folder}") from error
    return lock


class State:
    """The stand-in's memory. `folder` None keeps it in memory only; a folder serves one process at a time."""

    def __init__(self, folder: Path | None) -> None:
        self.lock = threading.RLock()
        self._claim: IO[str] | None = None
        if folder is None:
            place = ":memory:"
        else:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            place = str(folder / "stripe.sqlite3")
            self._claim = _claimed(folder)
        self._depth = 0
        self._after_commit: list[Callable[[], None]] = []
        self._connection = sqlite3.connect(place, check_same_thread=False, isolation_level=None, timeout=10)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)
        self._offset_seconds = float(self.setting("clock_offset_seconds") or "0")

    def close(self) -> None:
        """Let go of the file."""
        with self.lock:
            self._connection.close()
            if self._claim is not None:
                self._claim.close()

    # The clock.

    def now(self) -> float:
        """Seconds since 1970 on the stand-in's own clock."""
        return time.time() + self._offset_seconds

    @property
    def clock_offset_seconds(self) -> float:
        """How far the stand-in's clock is ahead of the machine's."""
        return self._offset_seconds

    def move_clock(self, *, offset_seconds: float) -> None:
        """Set the clock this far ahead of (or, negative, behind) the machine's, and remember it."""
        with self.transaction():
            self.set_setting("clock_offset_seconds", repr(offset_seconds))
            self._offset_seconds = offset_seconds

    # Transactions and rows.

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep everything that is written inside, or nothing. An inner transaction belongs to the outer one."""
        with self.lock:
            if self._depth:
                yield
                return
            self._depth += 1
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                self._after_commit.clear()
                raise
            else:
                self._connection.execute("COMMIT")
            finally:
                self._depth -= 1
            actions, self._after_commit = self._after_commit, []
        for action in actions:
            action()

    def after_commit(self, action: Callable[[], None]) -> None:
        """Call this once the present transaction is kept; never, when it isn't."""
        self._after_commit.append(action)

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Run one SQL statement and return its rows."""
        with self.lock:
            return self._connection.execute(statement, values).fetchall()

    def setting(self, name: str) -> str | None:
        """A remembered setting, or None."""
        rows = self.execute("SELECT value FROM settings WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def set_setting(self, name: str, value: str) -> None:
        """Remember a setting."""
        self.execute(
            "INSERT INTO settings VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
        )

    def count_down(self, name: str) -> bool:
        """Take one from a remembered number; False when nothing is left of it."""
        left = int(self.setting(name) or 0)
        if left > 0:
            self.set_setting(name, str(left - 1))
        return left > 0

    # Objects.

    def add(self, thing: Fields, *, hidden: Fields | None = None) -> Fields:
        """Keep a new object of the API. `hidden` is what Stripe knows about it and doesn't show."""
        self.execute(
            "INSERT INTO objects (id, kind, customer, created, body, hidden) VALUES (?, ?, ?, ?, ?, ?)",
            (
                thing["id"],
                thing["object"],
                thing.get("customer"),
                thing["created"],
                json.dumps(thing),
                json.dumps(hidden or {}),
            ),
        )
        return thing

    def save(self, thing: Fields, *, hidden: Fields | None = None) -> Fields:
        """Keep the changes of an object; `hidden` None leaves the hidden part as it is."""
        self.execute(
            "UPDATE objects SET customer = ?, body = ? WHERE id = ?",
            (thing.get("customer"), json.dumps(thing), thing["id"]),
        )
        if hidden is not None:
            self.execute("UPDATE objects SET hidden = ? WHERE id = ?", (json.dumps(hidden), thing["id"]))
        return thing

    def find(self, kind: str, object_id: str) -> Fields | None:
        """A copy of the object of that kind and id, or None."""
        rows = self.execute("SELECT body FROM objects WHERE id = ? AND kind = ?", (object_id, kind))
        if not rows:
            return None
        found: Fields = json.loads(rows[0][0])
        return found

    def find_any(self, object_id: str) -> Fields | None:
        """A copy of the object of that id, whatever it is, or None."""
        rows = self.execute("SELECT kind FROM objects WHERE id = ?", (object_id,))
        return self.find(rows[0][0], object_id) if rows else None

    def get(self, kind: str, object_id: str, *, param: str = "id") -> Fields:
        """A copy of the object; raises `resource_missing`: a 404 for an id in the path, a 400 for another."""
        found = self.find(kind, object_id)
        if found is None:
            raise no_such(kind, object_id, param=param, status=404 if param == "id" else 400)
        return found

    def hidden(self, object_id: str) -> Fields:
        """What Stripe knows about an object and doesn't show."""
        rows = self.execute("SELECT hidden FROM objects WHERE id = ?", (object_id,))
        found: Fields = json.loads(rows[0][0]) if rows else {}
        return found

    def newest_first(self, kind: str, *, customer: str | None = None) -> Iterator[Fields]:
        """Copies of all objects of a kind, and of a customer where one is given."""
        if customer is None:
            rows = self.execute("SELECT body FROM objects WHERE kind = ? ORDER BY position DESC", (kind,))
        else:
            rows = self.execute(
                "SELECT body FROM objects WHERE kind = ? AND customer = ? ORDER BY position DESC", (kind, customer)
            )
        for (body,) in rows:
            thing: Fields = json.loads(body)
            yield thing
