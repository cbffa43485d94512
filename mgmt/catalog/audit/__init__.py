"""The audit trail: hashes, seals, verification, export and prune."""
