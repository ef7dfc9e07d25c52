"""What happens to every request of the web process on behalf of people: limits on tries, and the age of sessions."""
