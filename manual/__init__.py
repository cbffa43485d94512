"""What makes the manual pages and the pictures of the documentation from mgmt itself, so that they stay true."""
