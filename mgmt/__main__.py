"""`python -m mgmt`."""

from mgmt.cli import main

main()
