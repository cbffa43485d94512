"""Records of files and of the members of archives: saved, found, searched."""
