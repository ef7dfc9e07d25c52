"""Whether what clients saw of one account could have happened one after the other.

Operations of many clients overlap. A history of them is linearizable when each can be given one instant between its
call and its answer so that the model, applied in the order of those instants, gives exactly the answers that were
seen. The search is Wing and Gong's, with memory: a set of operations done and an account in a state is tried once.
It looks at each organization alone, because no operation concerns two.

Nothing that the database says about order is trusted. The instant of an operation is not known, only that it lies
between call and answer; of all those instants only few differ for the model, namely the ends of holds and lots and
the ledger's own last time. Sequence numbers, ids and stamps are not looked at, but for an instant that an answer itself
tells its client, which must lie between call and answer like any other.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from billing.tests.proof.ledger_model import Account, Answer, Granted, LedgerModel, PriceVersion
from billing.tests.proof.real_ledger import new_id


@dataclass(frozen=True)
class Observed:
    """One operation as its client saw it. Without an answer it may have happened or not."""

    operation: str
    arguments: Mapping[str, Any]
    called_at: datetime
    answered_at: datetime
    answer: Any

    def may_follow(self, others: Sequence["Observed"]) -> bool:
        """Whether none of these was over before this one was called."""
        return all(other.answered_at >= self.called_at for other in others)


@dataclass
class Linearization:
    """The search. ``tried`` counts the steps that it took."""

    versions: Sequence[PriceVersion]
    observed: Sequence[Observed]
    final: "Final | None" = None
    tried: int = 0

    def find(self, account: Account) -> list[Observed] | None:
        """An order that explains every answer and, if it is known, the final state; None where there is none."""
        self._dead: set[Hashable] = set()
        # Answers come about in the order in which operations had the lock: a hint what to try first, and no more.
        order = sorted(self.observed, key=lambda one: one.answered_at)
        return self._find(account, tuple(order), None)

    def _find(self, account: Account, left: tuple[Observed, ...], since: datetime | None) -> list[Observed] | None:
        if not left:
            return [] if self.final is None or final_state(account) == self.final else None
        name = (frozenset(id(one) for one in left), state(account), since)
        if name in self._dead:
            return None
        for one in left:
            rest = tuple(other for other in left if other is not one)
            if not one.may_follow(rest):
                continue
            for at, after in self._outcomes(account, one, since):
                self.tried += 1
                found = self._find(after, rest, at)
                if found is not None:
                    return [one, *found]
        self._dead.add(name)
        return None

    def _outcomes(self, account: Account, one: Observed, since: datetime | None) -> Iterator[tuple[datetime, Account]]:
        """The accounts that the operation may have left behind, at each instant that makes a difference."""
        seen: set[Hashable] = set()
        for at in instants(account, one, since or one.called_at):
            model = LedgerModel()
            model.versions = list(self.versions)
            after = account.copy()
            model.accounts[account.organization_id] = after
            try:
                answer = getattr(model, one.operation)(**one.arguments, clock=at, new_id=new_id(one.answer))
            except AssertionError:
                # The model was to make something of which the answer names no id, or one that is not new.
                continue
            name = state(after)
            if answer == one.answer and name not in seen and self._leads_to_final(after):
                seen.add(name)
                yield at, after

    def _leads_to_final(self, account: Account) -> bool:
        """Entries are only added, so those of any moment are the beginning of those that are there at the end."""
        entries = entry_rows(account)
        return self.final is None or self.final.entries[: len(entries)] == entries


def instants(account: Account, one: Observed, since: datetime) -> list[datetime]:
    """The instants, none before the operation before, that the model can tell apart: the first one, and every end."""
    match one.answer:
        case Granted(is_replay=False):
            told = [one.answer.effective_at]
        case Answer(outcome="authorized", expires_at=datetime() as ends_at):
            told = [ends_at - timedelta(seconds=one.arguments["ttl_seconds"])]
        case _:
            told = []
    first = max(one.called_at, since, account.last_at or since)
    if told:
        return [at for at in told if first <= at <= one.answered_at]
    ends = {lot.expires_at for lot in account.lots} | {hold.expires_at for hold in account.open_holds()}
    ends.add(one.arguments.get("expires_at") or first)
    return [first, *sorted(end for end in ends if first < end <= one.answered_at)]


def state(account: Account) -> Hashable:
    """All of an account that decides about what comes."""
    return (
        len(account.entries),
        account.state,
        account.last_at,
        tuple(account.remaining().items()),
        account.debt_nano(),
        tuple((hold.id, hold.state) for hold in account.holds.values()),
        tuple((charge.key, charge.id) for charge in account.charges),
    )


Row = tuple[Any, ...]


@dataclass(frozen=True)
class Final:
    """What is read when all clients are done, without the times that no client was told."""

    entries: tuple[Row, ...]
    lots: tuple[Row, ...]
    holds: tuple[Row, ...]


def entry_rows(account: Account) -> tuple[Row, ...]:
    return tuple(
        (one.kind, one.lot_id, one.amount_nano, one.cause_kind, one.cause_id, one.balance_after_nano)
        for one in account.entries
    )


def final_state(account: Account) -> Final:
    return Final(
        entry_rows(account),
        tuple(sorted(account.remaining().items())),
        tuple(
            (hold.id, hold.state, tuple((part.lot.id, part.nano) for part in hold.parts))
            for hold in sorted(account.holds.values(), key=lambda hold: hold.id)
        ),
    )
