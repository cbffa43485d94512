"""Archive files and folders to S3 as plain tar.gz, prove that they arrived, and remember everything."""

__version__ = "0.1.0"
