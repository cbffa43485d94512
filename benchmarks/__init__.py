"""Figures, side by side with other tools, on the same input and the same server in one go. They are not tests."""
