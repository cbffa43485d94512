"""The inverse of an upload: the original back where it was, and its archive deleted if nothing else relies on it."""

import os
from dataclasses import dataclass

from mgmt.archive import Hashed, covers, move
from mgmt.catalog import (
    FileRecord,
    FileStatus,
    FreeRecord,
    Location,
    OperationRecord,
    Role,
    Status,
    UndoRecord,
    UploadRecord,
)
from mgmt.errors import ConflictError, RefusedError
from mgmt.paths import held_folder
from mgmt.services.steps.context import Context
from mgmt.services.steps.copies import Copies, Proven
from mgmt.services.steps.resolve import Archive, archive_id, find_archive
from mgmt.services.steps.restored import freed_copy, is_original, note_returned
from mgmt.services.steps.restoring import DownloadOptions
from mgmt.services.steps.set_aside import paths_of_removals
from mgmt.services.undo.parts import Part, Verbs, cannot, download, refuse_elsewhere
from mgmt.signals import finish_first
from mgmt.words import shell_word


@dataclass(frozen=True, slots=True)
class UploadInverse:
    """Undoes `upload`."""

    upload: UploadRecord
    context: Context
    verbs: Verbs

    def parts(self) -> list[Part]:
        """See `Inverse.parts`."""
        refuse_elsewhere(self.upload)
        returned = self._return()
        was_moved = self.upload.completed_dir_path is not None
        # What is back already, or will be downloaded, is recorded as the other copy only then.
        is_copy = was_moved and not any(each.action == "move back" for each in returned)
        return [*returned, *self._kept_tar(), *self._archive(is_copy=is_copy)]

    def run(self, undo: UndoRecord) -> None:
        """See `Inverse.run`."""
        catalog, context = self.context.catalog, self.context.within(undo.operation_id)
        for part in self._return():
            if part.action == "move back":
                self._move_back(part)
            else:
                folder, name = os.path.split(str(part.to))
                options = DownloadOptions(to=folder, name=name, thaw=self.verbs.thaw())
                self.verbs.download(part.target, options, context)
        target = str(self.upload.target_path)
        if self.upload.completed_dir_path is not None and os.path.lexists(target):
            note_returned(self.upload, catalog)
        for part in self._kept_tar():
            if part.action == "remove":
                self._remove_kept(context)
        for part in self._archive(is_copy=False):
            if part.action == "delete":
                self.verbs.delete_archive(part.target, context)

    def _return(self) -> list[Part]:
        """How the original comes back to where it was."""
        moved_to, target = self.upload.completed_dir_path, str(self.upload.target_path)
        if moved_to is None:
            return []
        if os.path.lexists(target):
            if not os.path.lexists(moved_to) and is_original(target, self.upload, self.context.progress):
                return []
            raise cannot(
                self.upload,
                f"{target} exists, and nothing is ever overwritten",
                f"mv -n {shell_word(target)} ANOTHER-NAME\n# then undo it again",
            )
        if os.path.lexists(moved_to):
            if is_original(moved_to, self.upload, self.context.progress):
                return [Part(action="move back", target=moved_to, to=target)]
            raise cannot(
                self.upload,
                f"{moved_to} is not what was archived",
                f"mv -n {shell_word(moved_to)} {shell_word(target)}\n# to have it as it is now",
            )
        for archive in self.context.catalog.metadata.archives_of(str(self.upload.digest)):
            if covers(archive.kept or "", self.upload.kept or ""):
                return [download(f"{archive.store}/{archive.s3_object_key}", target, self.context, self.verbs)]
        raise cannot(self.upload, f"{moved_to} is gone, and no archive of it is left")

    def _move_back(self, part: Part) -> None:
        source, destination = part.target, str(part.to)
        with (
            held_folder(os.path.dirname(source)) as completed,
            held_folder(os.path.dirname(destination), make=True) as folder,
        ):
            self.context.catalog.journal.confirm()
            finish_first()
            try:
                move(source, destination, source_folder=completed, destination_folder=folder)
            except ConflictError as exc:
                raise RefusedError(exc.message, next_step=f"mgmt undo {self.upload.operation_id}") from exc

    def _own_archive(self) -> FileRecord | None:
        found = self.context.catalog.metadata.files_of(self.upload, Role.ARCHIVE)
        same = (archive for archive, _ in found if archive.digest == self.upload.digest)
        return next((each for each in same if each.status is not FileStatus.DELETED), None)

    def _archive(self, *, is_copy: bool) -> list[Part]:
        """What becomes of the archive. Raises RefusedError if it is the last proven copy, and the original no copy."""
        archive = self._own_archive()
        if archive is None:
            return []
        url = f"{archive.store}/{archive.s3_object_key}"
        if (why := self._made_by_another(archive) or self._relied_on_by(archive)) is not None:
            return [Part(action="keep", target=url, why=why)]
        self.verbs.foresee_deletion(url, self.context, is_copy)
        if not is_copy and self.upload.compressed_file_path is not None:
            self._require_other_copy(find_archive(url, self.context, strictly=True))
        return [Part(action="delete", target=url)]

    def _require_other_copy(self, archive: Archive) -> None:
        """Raise RefusedError if the tar.gz that is about to be removed is the only other copy."""
        kept = self.upload.compressed_file_path
        for other in Copies(self.context).others(archive):
            if other.where != kept:
                return
        raise cannot(
            self.upload,
            f"{archive.url} is the last proven copy of what it holds",
            f"mgmt download {archive.word}\n# or: mgmt delete --last-copy {archive.word}",
        )

    def _made_by_another(self, archive: FileRecord) -> str | None:
        """Why the archive is not that of this upload, which found it there; None if this upload has made it."""
        upload = self.upload
        metadata = self.context.catalog.metadata
        if archive.archive_id is not None and metadata.undone_by(archive.archive_id) is not None:
            return None  # it was left to those that rely on it
        if archive.archive_id is not None and archive.archive_id != archive_id(upload):
            return f"upload {archive.archive_id} has made it"
        if upload.details.get("already_archived") or upload.details.get("done_by"):
            return "it was there before this upload"
        return None

    def _relied_on_by(self, archive: FileRecord) -> str | None:
        """Why the archive has to stay; None if nothing but this upload relies on it."""
        metadata = self.context.catalog.metadata
        others = [each for each in metadata.archives_of(str(archive.digest)) if each.archive_id != archive.archive_id]
        for each in metadata.operations_of(archive):
            if each.operation_id == self.upload.operation_id:
                continue
            # One that failed may have made it, and is resumed by the next with the same target.
            if isinstance(each, UploadRecord) and self._is_not_undone(each):
                return f"upload {each.operation_id} of {each.target_path} relies on it"
            if isinstance(each, FreeRecord) and self._is_in_force(each) and not others and self._is_of_another(each):
                return f"it holds what free {each.operation_id} removed as {each.target_path}"
        return None

    def _is_of_another(self, free: FreeRecord) -> bool:
        """Whether `free` removed a completed copy other than that of this upload."""
        copy = freed_copy(free, self.context.catalog)
        is_completed = copy is None or copy.location is Location.COMPLETED
        return is_completed and free.target_path != self.upload.completed_dir_path

    def _is_in_force(self, operation: OperationRecord) -> bool:
        ended_badly = operation.status in (Status.FAILED, Status.CANCELLED)
        return not ended_badly and self._is_not_undone(operation)

    def _is_not_undone(self, operation: OperationRecord) -> bool:
        return self.context.catalog.metadata.undone_by(operation.operation_id) is None

    def _kept_tar(self) -> list[Part]:
        """The tar.gz that the upload has written besides."""
        path = self.upload.compressed_file_path
        if path is None or self._record_of_kept() is None:
            return []
        if not os.path.lexists(path) and path not in paths_of_removals(self.context.catalog):
            return []
        if self._own_archive() is None:
            return [Part(action="keep", target=path, why="its archive is not there any more")]
        return [Part(action="remove", target=path)]

    def _record_of_kept(self) -> FileRecord | None:
        found = self.context.catalog.metadata.files_of(self.upload, Role.RESULT)
        return next((kept for kept, _ in found if kept.path == self.upload.compressed_file_path), None)

    def _remove_kept(self, context: Context) -> None:
        kept, archive, copies = self._record_of_kept(), self._own_archive(), Copies(context)
        if kept is None or archive is None:
            return
        known = archive

        def compare(copy: FileRecord, folder: int) -> tuple[Hashed, Proven]:
            return copies.tar_gz(copy, known, folder), copies.archive_like(known)

        self.verbs.remove_copy(kept, context, str(archive.digest), compare)
