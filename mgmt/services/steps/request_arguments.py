"""What the arguments of a requested operation contain besides the options of its command."""

NAMES, FOLDER, THEN = "names", "cwd", "then"
"""Arguments of a requested operation: its targets, the folder it was requested in, and the commands that follow."""

AFTER, STORE = "after", "store_url"
"""Arguments that say how it was requested: the operations that it waits for; the store that its command was given."""

TEMPLATE, SCHEDULE = "template", "schedule"
"""Arguments that say where an operation comes from: the name of a template; the name of a schedule, its time, and how
many times before that were missed."""

ARCHIVES, SEEN = "archives", "seen"
"""What was meant when an operation was requested: the archive of each name to delete; when the target of an upload was
seen. Names are used again: what has another meaning by then is refused.
"""

NO_OPTIONS = (NAMES, FOLDER, THEN, AFTER, STORE, TEMPLATE, SCHEDULE, ARCHIVES, SEEN)
"""What is in the arguments of an operation and is no option of its command."""

WORKER = "MGMT_WORKER"
"""The environment variable in which a worker tells its processes who they work for."""
