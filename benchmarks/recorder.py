"""Records archives of the collection in a catalog, as an upload does.

`python -m benchmarks.recorder URL FIRST LAST MEMBERS` records the archives from FIRST up to LAST, each with MEMBERS.
"""

import sys

from benchmarks.collection import archive
from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, open_catalog


def a_record(catalog: Catalog, key: str) -> FileRecord:
    """Save and return the record of an archive."""
    record = FileRecord(
        path=key, s3_object_key=key, location=Location.S3, store="s3://bench/archive", status=FileStatus.COMPLETED
    )
    return catalog.metadata.save_file_record(record)


def main(url: str, first: int, last: int, count: int) -> None:
    """Record each archive in one transaction."""
    catalog = open_catalog(url)
    for number in range(first, last):
        with catalog.transaction():
            record = a_record(catalog, f"{number}.tar.gz")
            catalog.members.record(record.id, archive(number, count))
    catalog.members.index_names()
    catalog.close()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
