"""A store whose archives are empty shells, with indexes that say what they would hold: enough to rebuild a catalog."""

from pathlib import Path

from benchmarks.collection import archive
from mgmt.archive.index import IndexHeader, IndexWriter

SHELL = b"there is nothing in it\n"


def directory_store(folder: Path, archives: int, members: int) -> Path:
    """Fill the folder with so many archives of so many members each."""
    folder.mkdir()
    for number in range(archives):
        key = f"{number}.tar.gz"
        (folder / key).write_bytes(SHELL)
        operation_id = f"{number:032}"
        header = IndexHeader(key, operation_id, "", "", "", "", "", "")
        with IndexWriter(str(folder / f"{key}.{operation_id[:12]}.index.jsonl.gz"), header) as index:
            for member in archive(number, members):
                index.add_member(member)
            index.finish(
                digest=f"{number:064}", size=len(SHELL), checksum="", tar_size=1 << 60, tar_crc32=0, part_size=0,
                members=members, blocks=0,
            )  # fmt: skip
    return folder
