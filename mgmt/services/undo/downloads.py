"""The inverse of a download: what it restored is removed, if that is unchanged and an archive of it is proven."""

import os
from dataclasses import dataclass

from mgmt.archive import Hashed
from mgmt.catalog import DownloadRecord, FileRecord, FileStatus, Role, UndoRecord
from mgmt.services.steps.context import Context
from mgmt.services.steps.copies import Copies, Proven
from mgmt.services.steps.set_aside import paths_of_removals
from mgmt.services.undo.parts import Part, Verbs, cannot, refuse_elsewhere
from mgmt.words import shell_word


@dataclass(frozen=True, slots=True)
class DownloadInverse:
    """Undoes `download`."""

    download: DownloadRecord
    context: Context
    verbs: Verbs

    def parts(self) -> list[Part]:
        """See `Inverse.parts`."""
        refuse_elsewhere(self.download)
        restored = self._restored()
        if restored is None or not (
            os.path.lexists(restored.path) or restored.path in paths_of_removals(self.context.catalog)
        ):
            return []
        self._require_archive()
        return [Part(action="remove", target=restored.path)]

    def run(self, undo: UndoRecord) -> None:
        """See `Inverse.run`."""
        restored, context = self._restored(), self.context.within(undo.operation_id)
        if restored is None or not self.parts():
            return
        archive, copies = self._require_archive(), Copies(context)
        is_tar = bool(self.download.command_args.get("archive"))

        def compare(copy: FileRecord, folder: int) -> tuple[Hashed, Proven]:
            seen = copies.tar_gz(copy, archive, folder) if is_tar else copies.hash(copy, folder)
            return seen, copies.archive_like(archive)

        self.verbs.remove_copy(restored, context, str(archive.digest), compare)

    def _restored(self) -> FileRecord | None:
        """What was restored; None if that is recorded as removed."""
        for file, _ in self.context.catalog.metadata.files_of(self.download, Role.RESULT):
            if file.digest is None:
                raise cannot(self.download, f"{file.path} was restored in part, so it cannot be compared")
            if file.operation_id != self.download.operation_id and os.path.lexists(file.path):
                raise cannot(self.download, f"{file.path} belongs to operation {file.operation_id} by now")
            if file.status is not FileStatus.DELETED:
                return file
        return None

    def _require_archive(self) -> FileRecord:
        for archive, _ in self.context.catalog.metadata.files_of(self.download, Role.ARCHIVE):
            if archive.digest is not None and self.context.catalog.metadata.archives_of(archive.digest):
                return archive
        where = str(self.download.result_path or self.download.local_path)
        raise cannot(
            self.download,
            f"no archive of {where} is recorded any more, so it may be the last copy",
            f"mgmt upload {shell_word(where)}\n# archives it again",
        )
