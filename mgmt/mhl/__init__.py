"""Media hash lists (ASC MHL 2.0 and the older MHL 1.1): reading, verifying and writing. Knows lists and bytes only."""
