"""Benchmarks against other tools, on the same input and the same server. They are not tests."""
