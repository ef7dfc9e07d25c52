"""The outside world of the console, for the demo, the tests and rehearsals. No app of the product imports it."""
