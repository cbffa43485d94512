"""What the record of a changed setting says, besides its new value."""

BEFORE = "before"
"""The detail with the value that it had, without passwords; None if it had none."""
