"""The database: connections, transactions, locks, and what is retried."""
