"""The demo behind ./run: its processes, its organization and its mailbox; nothing of it runs in production."""
