"""The guided tour of mgmt (`make demo`): real media, a real S3 server, and everything back again."""
