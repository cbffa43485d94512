"""A store of empty archives with full indexes, enough to rebuild a catalog. The archives are sparse files."""

from pathlib import Path

from benchmarks.collection import archive
from mgmt.archive import IndexEnd, IndexHeader, IndexWriter
from mgmt.archive.limits import RATIO, RECORD


def directory_store(folder: Path, archives: int, members: int) -> Path:
    """Fill the folder with `archives` archives of `members` members each."""
    folder.mkdir()
    for number in range(archives):
        key = f"{number}.tar.gz"
        operation_id = f"{number:032}"
        header = IndexHeader(key, operation_id, "", "", "", "", "", "")
        with IndexWriter(str(folder / f"{key}.{operation_id[:12]}.index.jsonl.gz"), header) as index:
            for member in archive(number, members):
                index.add_member(member)
                tar_size = member.data_offset + member.size + RECORD
            size = tar_size // RATIO + 1
            index.finish(IndexEnd(members, 0, f"{number:064}", size, "", tar_size, 0, 0, kept=""))
        with open(folder / key, "xb") as shell:
            shell.truncate(size)
    return folder
