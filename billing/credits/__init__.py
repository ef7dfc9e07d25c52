"""The wing that keeps credits. It knows what was granted, held, spent and expired, and nothing of payment."""
