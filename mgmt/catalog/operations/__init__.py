"""The life of an operation, and the heartbeat of one that is running."""
