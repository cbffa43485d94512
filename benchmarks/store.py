"""A store of empty archives with full indexes, enough to rebuild a catalog."""

from pathlib import Path

from benchmarks.collection import archive
from mgmt.archive import IndexEnd, IndexHeader, IndexWriter

SHELL = b"there is nothing in it\n"


def directory_store(folder: Path, archives: int, members: int) -> Path:
    """Fill the folder with `archives` archives of `members` members each."""
    folder.mkdir()
    for number in range(archives):
        key = f"{number}.tar.gz"
        (folder / key).write_bytes(SHELL)
        operation_id = f"{number:032}"
        header = IndexHeader(key, operation_id, "", "", "", "", "", "")
        with IndexWriter(str(folder / f"{key}.{operation_id[:12]}.index.jsonl.gz"), header) as index:
            for member in archive(number, members):
                index.add_member(member)
            index.finish(IndexEnd(members, 0, f"{number:064}", len(SHELL), "", 1 << 60, 0, 0, kept=""))
    return folder
