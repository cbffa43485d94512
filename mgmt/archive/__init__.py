"""The tar.gz format (docs/format.md): from trees to archives and back. Knows files and bytes only."""

from mgmt.archive.blocks import BLOCK, HEADER, Data, compressor, largest_object
from mgmt.archive.dirfd import remove_tree
from mgmt.archive.extract import Extracted, Limits, Wanted, extract, give_name, remove_partial
from mgmt.archive.index import Index
from mgmt.archive.index_lines import IndexEnd, IndexHeader
from mgmt.archive.index_writer import IndexWriter
from mgmt.archive.inflate import inflate
from mgmt.archive.kept import covers
from mgmt.archive.limits import largest_index
from mgmt.archive.member import Digest, Member, encode
from mgmt.archive.move import fsync_folder, make_folders, move, partial_name, rename_noreplace
from mgmt.archive.on_disk import members_on_disk, read_members_on_disk
from mgmt.archive.reader import Contents, Fetch, digest_members, read_blocks, read_member
from mgmt.archive.rebuild import rebuild_index
from mgmt.archive.selection import Selection, read_selection, select
from mgmt.archive.source import unreadable
from mgmt.archive.tar_stream import read_members
from mgmt.archive.tree import Skipped, Survey, Tree, same_state, survey
from mgmt.archive.writer import Archived, Hashed, WriteOptions, hash_tree, look_again, write_archive

__all__ = [
    "BLOCK",
    "HEADER",
    "Archived",
    "Contents",
    "Data",
    "Digest",
    "Extracted",
    "Fetch",
    "Hashed",
    "Index",
    "IndexEnd",
    "IndexHeader",
    "IndexWriter",
    "Limits",
    "Member",
    "Selection",
    "Skipped",
    "Survey",
    "Tree",
    "Wanted",
    "WriteOptions",
    "compressor",
    "covers",
    "digest_members",
    "encode",
    "extract",
    "fsync_folder",
    "give_name",
    "hash_tree",
    "inflate",
    "largest_index",
    "largest_object",
    "look_again",
    "make_folders",
    "members_on_disk",
    "move",
    "partial_name",
    "read_blocks",
    "read_member",
    "read_members",
    "read_members_on_disk",
    "read_selection",
    "rebuild_index",
    "remove_partial",
    "remove_tree",
    "rename_noreplace",
    "same_state",
    "select",
    "survey",
    "unreadable",
    "write_archive",
]
