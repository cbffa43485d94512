"""What mgmt does, one verb a module. Services return records and raise MgmtError; they never print."""
