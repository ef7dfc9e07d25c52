"""People, organizations, and who may do what; knows nothing of money."""
