"""Media hash lists: verify a folder against its own, and make one of an archive."""
