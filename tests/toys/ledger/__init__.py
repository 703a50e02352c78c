"""A bookkeeper: accounts, transfers, and a world to judge."""
