"""Stops of all usage of an organization, whoever made them, and the one place that makes the account's state of them.

Staff may freeze an account, the platform may suspend an organization, and an Admin may stop all usage: each begins and
ends its own block, and the account is frozen while any stands. A closed account stays closed. The gate reads the state
in the operation that it refuses, so a stop counts from the next request on.

These functions write no audit event: their callers do, in the same transaction, in words of their own.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import F
from django.db.models.functions import Greatest, Now

from accounts.models import Organization, User
from billing.credits import ledger
from billing.models import CreditAccount, UsageBlock


def begin(
    *, organization: Organization, kind: UsageBlock.Kind, actor: User | None, reason: str = "", notice: str = ""
) -> bool:
    """Begin a block in the caller's transaction; False when one of this kind stood already.

    Raises:
        OrganizationUnknown: there is no such organization.
        TransactionManagementError: no transaction is open.
    """
    ledger.lock(organization_id=organization.pk)
    _, is_new = UsageBlock.objects.get_or_create(
        organization=organization,
        kind=kind,
        ended_at=None,
        defaults={"reason": reason, "notice": notice, "actor_id": actor.pk if actor is not None else None},
    )
    if is_new:
        _derive_state(organization)
    return is_new


def end(*, organization: Organization, kind: UsageBlock.Kind, actor: User | None) -> bool:
    """End the block of this kind in the caller's transaction; False when none stood. Others go on to stand.

    Raises:
        OrganizationUnknown: there is no such organization.
        TransactionManagementError: no transaction is open.
    """
    ledger.lock(organization_id=organization.pk)
    ended = UsageBlock.objects.filter(organization=organization, kind=kind, ended_at=None).update(
        ended_at=Greatest(Now(), F("begun_at")), ended_by_id=actor.pk if actor is not None else None
    )
    if ended:
        _derive_state(organization)
    return bool(ended)


def stopped_by_customer(*, organization_ids: Collection[int]) -> set[int]:
    """Of these organizations those that an Admin of their own has stopped, and nothing else."""
    rows = UsageBlock.objects.filter(
        organization_id__in=organization_ids,
        ended_at=None,
        organization__creditaccount__state=CreditAccount.State.FROZEN,
    ).values_list("organization_id", "kind")
    kinds: dict[int, set[str]] = {}
    for organization_id, kind in rows:
        kinds.setdefault(organization_id, set()).add(kind)
    return {organization_id for organization_id, found in kinds.items() if found == {UsageBlock.Kind.STOP}}


def is_stopped(*, organization_id: int) -> bool:
    """Whether an Admin's stop stands."""
    return UsageBlock.objects.filter(organization_id=organization_id, kind=UsageBlock.Kind.STOP, ended_at=None).exists()


def standing(*, organization_id: int) -> list[UsageBlock]:
    """The blocks that stand now, the oldest first."""
    return list(UsageBlock.objects.filter(organization_id=organization_id, ended_at=None).order_by("pk"))


def suspension(*, organization_id: int) -> UsageBlock | None:
    """The suspension of the organization that stands now, or None."""
    return UsageBlock.objects.filter(
        organization_id=organization_id, kind=UsageBlock.Kind.SUSPENSION, ended_at=None
    ).first()


def _derive_state(organization: Organization) -> None:
    """Under the account's lock: closed stays closed, otherwise frozen while any block stands."""
    if CreditAccount.objects.filter(organization=organization, state=CreditAccount.State.CLOSED).exists():
        return
    is_blocked = UsageBlock.objects.filter(organization=organization, ended_at=None).exists()
    state = CreditAccount.State.FROZEN if is_blocked else CreditAccount.State.OPEN
    ledger.set_state(organization_id=organization.pk, state=state)
