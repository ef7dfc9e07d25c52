"""A mutation run over the ledger: small edits of its code, one at a time, and whether any check notices.

``python -m billing.tests.mutation`` makes the mutants of every SQL function of ``billing/credits/sql`` and of the
Python of ``billing/credits`` and ``billing/money.py``, and runs against each the tests that execute the edited
function, then random histories beside the model. docs/mutation.md lists and explains what survives.
"""
