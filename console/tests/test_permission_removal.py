"""The matrix notices when a permission check is missing: each one is taken away in turn."""

import time

from console.tests import permission_removal
from console.tests.access_cases import COUNTS


def test_every_permission_check_that_is_taken_away_is_noticed(world, request):
    """All of them by ``--remove-permissions``; otherwise one in twelve, to see that the way of taking away works."""
    found = permission_removal.removals(world)
    is_all = request.config.getoption("--remove-permissions")
    chosen = found if is_all else found[::12]
    began = time.monotonic()
    missed = []
    for removal in chosen:
        is_noticed = permission_removal.is_noticed(world, removal)
        print(f"{'noticed' if is_noticed else 'MISSED'}: {removal.told}", flush=True)
        if not is_noticed:
            missed.append(removal.told)
    COUNTS["permission checks taken away"] += len(chosen)
    COUNTS["of them noticed"] += len(chosen) - len(missed)
    print(f"\n{len(chosen) - len(missed)} of {len(chosen)} noticed, {time.monotonic() - began:.0f} s")
    assert missed == []
