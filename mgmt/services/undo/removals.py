"""The inverses of what removes: `free` and `delete`."""

import os
from dataclasses import dataclass, replace
from functools import partial

from mgmt.archive import covers
from mgmt.catalog import DeleteRecord, FileRecord, FileStatus, FreeRecord, Location, Place, Role, UndoRecord
from mgmt.choices import OnConflict
from mgmt.errors import MgmtError, RefusedError
from mgmt.services.steps.context import Context
from mgmt.services.steps.copies import Copies, OtherCopy
from mgmt.services.steps.resolve import Archive
from mgmt.services.steps.restored import freed_copy, holds, note_copied_back
from mgmt.services.steps.restoring import DownloadOptions
from mgmt.services.steps.versions import how_to_bring_back
from mgmt.services.undo.parts import Part, Verbs, cannot, download, refuse_elsewhere
from mgmt.words import shell_word


@dataclass(frozen=True, slots=True)
class FreeInverse:
    """Undoes `free`: the copy is downloaded to its place."""

    free: FreeRecord
    context: Context
    verbs: Verbs

    def parts(self) -> list[Part]:
        """See `Inverse.parts`."""
        refuse_elsewhere(self.free)
        copy = self._copy()
        if os.path.lexists(copy.path):
            if not holds(copy.path, copy.digest, copy.kept, self.context.progress):
                raise cannot(
                    self.free,
                    f"{copy.path} exists, and nothing is ever overwritten",
                    f"mv -n {shell_word(copy.path)} ANOTHER-NAME\n# then undo it again",
                )
            if copy.status is FileStatus.COMPLETED:
                return []
            return [Part(action="record", target=copy.path)]
        url = self._url(copy)
        return [download(url, copy.path, self.context, self.verbs)]

    def run(self, undo: UndoRecord) -> None:
        """See `Inverse.run`."""
        copy = self._copy()
        for part in self.parts():
            if part.action == "download":
                folder, name = os.path.split(copy.path)
                options = DownloadOptions(to=folder, name=name, thaw=self.verbs.thaw())
                self.verbs.download(part.target, options, self.context.within(undo.operation_id))
        if os.path.lexists(copy.path):
            note_copied_back(copy, self.context.catalog)

    def _copy(self) -> FileRecord:
        copy = freed_copy(self.free, self.context.catalog)
        if copy is None or copy.digest is None:
            raise cannot(self.free, "what it removed is not recorded")
        return copy

    def _url(self, copy: FileRecord) -> str:
        for archive in self.context.catalog.metadata.archives_of(str(copy.digest)):
            if covers(archive.kept or "", copy.kept or ""):
                return f"{archive.store}/{archive.s3_object_key}"
        raise cannot(self.free, f"no archive of {copy.path} is left")


@dataclass(frozen=True, slots=True)
class DeleteInverse:
    """Undoes `deletion`: the version that is left is brought back, or a copy is uploaded under the same key."""

    deletion: DeleteRecord
    context: Context
    verbs: Verbs

    def parts(self) -> list[Part]:
        """See `Inverse.parts`."""
        archive = self._archive()
        url = f"{archive.store}/{archive.s3_object_key}"
        there = self.context.catalog.metadata.get_file_record(
            Place(Location.S3, str(archive.store), str(archive.s3_object_key))
        )
        if there is not None and there.status is not FileStatus.DELETED:
            if there.digest == archive.digest and covers(there.kept or "", archive.kept or ""):
                return []
            raise cannot(self.deletion, f"{url} holds another archive by now")
        if how_to_bring_back(self.context.open_store(archive.store), archive) is not None:
            return [Part(action="undelete", target=url)]
        return [Part(action="upload", target=self._copy(archive).where, to=url)]

    def run(self, undo: UndoRecord) -> None:
        """See `Inverse.run`."""
        archive = self._archive()
        kept, store = archive.kept or "", archive.store
        options = replace(
            self.verbs.options(),
            key=archive.s3_object_key,
            storage_class=archive.storage_class,
            tags=dict(archive.tags or {}),
            owners="owners:" in kept,
            xattrs="xattrs:" in kept,
            keep=True,
            on_conflict=OnConflict.ERROR,
        )
        given = ("key", "storage_class", "tags", "owners", "xattrs", "keep")
        context = replace(
            self.context.within(undo.operation_id),
            open_store=lambda url: self.context.open_store(url or store),
            command_args={name: getattr(options, name) for name in given if getattr(options, name)},
        )
        for part in self.parts():
            if part.action == "undelete":
                self.verbs.undelete(self.deletion.operation_id, replace(context, command_args={}))
            else:
                self.verbs.upload(part.target, options, context)

    def _archive(self) -> FileRecord:
        for archive, _ in self.context.catalog.metadata.files_of(self.deletion, Role.ARCHIVE):
            if archive.digest is not None:
                return archive
        raise cannot(self.deletion, "what the archive held is not recorded")

    def _copy(self, archive: FileRecord) -> OtherCopy:
        """A proven copy of what was deleted, as the original; in completed/ if there is one."""
        deleted = Archive(str(archive.s3_object_key), partial(self.context.open_store, archive.store), archive)
        other: OtherCopy | None = None
        try:
            for copy in Copies(self.context).others(deleted):
                if copy.holds_original:
                    return copy
                other = other or copy
        except RefusedError:
            raise
        except MgmtError as exc:
            raise cannot(self.deletion, f"what the archive kept cannot be told any more: {exc.message}") from exc
        url = shell_word(f"{archive.store}/{archive.s3_object_key}")
        if other is None:
            raise cannot(self.deletion, "no copy of what it held is left on this machine or in a store")
        bring = (
            f"mgmt download {shell_word(other.where)} --to DIR"
            if other.is_archive
            else f"tar -xzf {shell_word(other.where)}"
        )
        raise cannot(
            self.deletion,
            f"{other.where} holds it, and only a file or folder as it was can be uploaded",
            f"{bring}\nmgmt upload --key {shell_word(str(archive.s3_object_key))} PATH\n# as {url}",
        )
