"""PostgreSQL and Valkey from wheels, for the demo and the tests; nothing of it runs in production."""
