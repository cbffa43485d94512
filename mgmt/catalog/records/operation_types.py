"""Every type of operation: import `AnyOperation` where operations of any type are read, so that each type is mapped."""

from mgmt.catalog.records import cold, inspections, maintenance, transfers
from mgmt.catalog.records.operations import OperationRecord

MODULES = (cold, inspections, maintenance, transfers)
"""The modules that map a type; to import them is to map it."""

AnyOperation = OperationRecord
"""An operation of any type. Each comes as a record of its own type."""
