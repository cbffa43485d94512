"""Changes that each break a promise, and the tests that must fail then: tests of the tests."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sabotage:
    """Replaces `old`, which occurs in `module` exactly once, by `new`; at least one of `tests` must fail then."""

    name: str
    module: str
    old: str
    new: str
    tests: tuple[str, ...]
    quick: bool = False
    """Cheap enough for every run."""


ORDER = "tests/services/test_upload_order.py"
MOVE = "tests/archive/test_move.py"
AUDIT = "tests/catalog/audit/test_chain.py"
ENDPOINTS = "tests/services/test_endpoints.py"
SEQUENCES = "tests/integration/test_sequences.py"
MODEL = "tests/catalog/operations/test_queue_model.py::test_the_queue_does_what_its_model_does"
FOLDERS = "    for folder in dict.fromkeys(folders):\n        sync_folder(folder)\n"

SABOTAGES = (
    Sabotage(
        "upload two targets that want one key at the same time",
        "mgmt/services/steps/parallel.py",
        "        return any(each.meets(footprint) for each in running)\n",
        "        return False\n",
        ("tests/services/steps/test_parallel.py::test_conflicts_end_as_they_would_one_after_the_other",),
    ),
    Sabotage(
        "let threads share a session",
        "mgmt/services/steps/workers.py",
        "            found.append(catalog.for_thread())\n",
        "            found.append(catalog)\n",
        ("tests/services/steps/test_parallel.py::test_one_that_fails_does_not_touch_the_others",),
    ),
    Sabotage(
        "skip the proof",
        "mgmt/services/steps/proof.py",
        "    read_back(store, key, expected.sent.checksum, expected.digest, progress)\n",
        "",
        (f"{ORDER}::test_an_original_is_not_moved_if_the_store_corrupts_its_archive",),
        quick=True,
    ),
    Sabotage(
        "move before the commit",
        "mgmt/services/steps/archived.py",
        "        record.stage, record.upload_id = PROVEN, None\n        catalog.journal.checkpoint()\n",
        "        from mgmt.services.steps.move_original import finish_upload\n"
        "        record.stage, record.upload_id = PROVEN, None\n        finish_upload(record, catalog)\n",
        (f"{ORDER}::test_proof_and_destination_are_on_disk_before_the_move",),
        quick=True,
    ),
    Sabotage(
        "skip the fsync of the new folder",
        "mgmt/archive/move.py",
        FOLDERS,
        FOLDERS.replace("dict.fromkeys(folders)", "folders[1:]"),
        (f"{MOVE}::test_both_folders_are_synced_after_a_move",),
        quick=True,
    ),
    Sabotage(
        "skip the fsync of the old folder",
        "mgmt/archive/move.py",
        FOLDERS,
        FOLDERS.replace("dict.fromkeys(folders)", "folders[:1]"),
        (f"{MOVE}::test_both_folders_are_synced_after_a_move",),
    ),
    Sabotage(
        "replace an existing file in a move",
        "mgmt/archive/move.py",
        "        if not _rename_in_one_step(old, new, source_folder, destination_folder):\n",
        "        os.rename(old, new, src_dir_fd=source_folder, dst_dir_fd=destination_folder)\n        if False:\n",
        (f"{MOVE}::test_a_move_never_replaces_anything",),
    ),
    Sabotage(
        "accept another operation's object as own",
        "mgmt/storage/publish.py",
        "    return there.size == size and all(",
        "    return True or all(",
        (
            "tests/storage/test_contract.py::test_the_same_operation_with_another_size_is_a_conflict",
            "tests/storage/test_lost_answers.py::test_a_race_for_a_key_has_one_winner",
        ),
    ),
    Sabotage(
        "return exit status 0 for an error",
        "mgmt/cli/__init__.py",
        "        return exc.exit_status\n",
        "        return ExitStatus.OK\n",
        (f"{ORDER}::test_another_archive_under_the_same_key_is_not_overwritten",),
    ),
    Sabotage(
        "skip the second check of the original",
        "mgmt/services/upload.py",
        "                look_again(self.plan.tree, archived)\n",
        "",
        (f"{ORDER}::test_a_change_after_reading_is_detected_before_the_archive_is_published",),
    ),
    Sabotage(
        "overwrite an object that appeared during the upload",
        "mgmt/storage/s3.py",
        '                    request(IfNoneMatch="*")\n',
        "                    request()\n",
        ("tests/storage/test_lost_answers.py::test_a_race_for_a_key_has_one_winner",),
    ),
    Sabotage(
        "extract without comparing the digest",
        "mgmt/archive/extract.py",
        "        if self._wanted.digest not in (None, digest):\n",
        "        if False:\n",
        ("tests/archive/test_extract.py::test_an_unexpected_archive_never_appears",),
        quick=True,
    ),
    Sabotage(
        "delete the last copy",
        "mgmt/services/delete.py",
        "                copy = None if last_copy else _other_copy(archive, copies)\n",
        "                copy = None\n",
        (f"{ORDER}::test_delete_refuses_the_last_copy",),
    ),
    Sabotage(
        "close an operation without a commit",
        "mgmt/catalog/db/database.py",
        "                        self._session.commit()\n",
        "                        self._session.flush()\n",
        (
            "tests/catalog/operations/test_journal.py::test_an_operation_is_recorded_before_the_work_and_closed_after_it",
        ),
    ),
    Sabotage(
        "treat a COMMIT without an answer as committed",
        "mgmt/catalog/db/commit_recovery.py",
        "            if not self.closed or (transaction_id is not None and not self._was_committed(transaction_id)):\n",
        "            if not self.closed:\n",
        ("tests/faults/test_lost_connections.py::test_a_connection_cut_at_any_request_breaks_no_promise",),
    ),
    Sabotage(
        "treat a COMMIT without an answer as rolled back",
        "mgmt/catalog/db/commit_recovery.py",
        "            if not self.closed or (transaction_id is not None and not self._was_committed(transaction_id)):\n",
        "            if True:\n",
        ("tests/faults/test_lost_connections.py::test_a_connection_cut_at_any_request_breaks_no_promise",),
    ),
    Sabotage(
        "start the work before the intent is on disk",
        "mgmt/catalog/operations/journal.py",
        "            with self._closing(begun, taken_up=begun is not operation):\n"
        "                for tell in self.at_begin:\n                    tell(begun)\n                yield begun\n",
        "            yield begun\n",
        (
            "tests/catalog/operations/test_journal.py::test_an_operation_is_recorded_before_the_work_and_closed_after_it",
        ),
    ),
    Sabotage(
        "record a finished move as cancelled",
        "mgmt/services/steps/move_original.py",
        "    finish_first()\n",
        "",
        ("tests/faults/test_signals.py::test_a_signal_at_each_stage_loses_nothing",),
    ),
    Sabotage(
        "close an operation without a hash",
        "mgmt/catalog/audit/hashing.py",
        '        database.listen("before_commit", self._hash)\n',
        "",
        (f"{AUDIT}::test_the_hash_is_committed_with_the_outcome",),
    ),
    Sabotage(
        "seal without the previous seal",
        "mgmt/catalog/audit/chain.py",
        "previous=previous,",
        "previous=None,",
        (f"{AUDIT}::test_seals_are_a_chain",),
    ),
    Sabotage(
        "do not compare a seal with the previous one",
        "mgmt/catalog/audit/verification.py",
        "if number == expected and seal.previous != (before.digest if before else None):",
        "if False:",
        ("tests/faults/test_tampering.py::test_every_tampering_is_detected_and_named[sqlite-30]",),
    ),
    Sabotage(
        "accept any archive as proof of a copy",
        "mgmt/services/steps/copies.py",
        "        for record in self.context.catalog.metadata.archives_of(seen.digest):\n",
        "        for record in self.context.catalog.metadata.list_files(prefix=os.path.basename(path)):\n",
        (f"{SEQUENCES}::test_free_refuses_a_copy_whose_archive_was_deleted",),
    ),
    Sabotage(
        "write a new archive over the record of the old one",
        "mgmt/catalog/files/metadata.py",
        "            if known.archive_id == record.archive_id:\n",
        "            if True:\n",
        ("tests/catalog/files/test_metadata.py::test_an_archive_under_a_key_used_again_has_a_record_of_its_own",),
    ),
    Sabotage(
        "allow two concurrent removals of one content",
        "mgmt/services/steps/copies.py",
        '    return f"content {digest}"\n',
        '    return f"content {digest} {os.getpid()}"\n',
        (f"{SEQUENCES}::test_one_of_concurrent_delete_and_free_is_refused",),
    ),
    Sabotage(
        "remove a complete archive in recover",
        "mgmt/services/steps/interrupted.py",
        "            archive = proven_record(store, stored, catalog) or adopt_left(record, stored, store, context)\n",
        '            store.delete(key)\n            return ""\n',
        (
            f"{SEQUENCES}::test_recover_keeps_an_archive_whose_upload_ended_after_the_backup",
            f"{SEQUENCES}::test_recover_keeps_an_archive_that_another_upload_adopted",
        ),
    ),
    Sabotage(
        "miss a change to a file while it is read",
        "mgmt/archive/source.py",
        "        if _identity(os.fstat(found.descriptor)) != before:\n",
        "        if False:\n",
        (
            "tests/archive/test_writer.py::test_a_small_file_that_changes_while_read_is_named",
            "tests/archive/test_writer.py::test_a_file_that_changes_while_read_is_named",
        ),
    ),
    Sabotage(
        "miss a write through a mapping",
        "mgmt/archive/source.py",
        "            clean_pages(descriptor)\n",
        "            pass\n",
        ("tests/archive/test_mapped.py::test_a_write_through_a_mapping_is_detected",),
    ),
    Sabotage(
        "miss a change in the second check",
        "mgmt/archive/writer.py",
        "    if (now.source_state, now.root_ctime_ns) != (seen.source_state, seen.root_ctime_ns):\n",
        "    if False:\n",
        (f"{SEQUENCES}::test_a_copy_that_changes_while_it_is_compared_is_refused",),
    ),
    Sabotage(
        "resolve the name of a deleted archive to another one",
        "mgmt/services/steps/resolve.py",
        "    known = known_archives(name, catalog, strictly=strictly)\n",
        "    known, strictly = known_archives(name, catalog, strictly=False), False\n",
        (f"{SEQUENCES}::test_a_name_never_falls_back_to_another_archive",),
    ),
    Sabotage(
        "take an incomplete listing for a complete one",
        "mgmt/storage/s3_listing.py",
        "        if found is None:\n",
        "        if found is None:\n            return\n        if False:\n",
        (f"{ENDPOINTS}::test_a_listing_that_cannot_be_continued_is_an_error",),
    ),
    Sabotage(
        "trust an endpoint by what another one was seen to do",
        "mgmt/storage/s3.py",
        "        self.endpoint: str = client.meta.endpoint_url\n",
        '        self.endpoint: str = ""\n',
        (f"{ENDPOINTS}::test_an_endpoint_is_probed_wherever_it_was_chosen[endpoint_url]",),
    ),
    Sabotage(
        "take an upload that is not settled for a conflict",
        "mgmt/storage/publish.py",
        "    if isinstance(failure, StoreUnavailableError) or (isinstance(failure, IntegrityError) and not unknown):\n",
        "    if failure is not None:\n",
        ("tests/storage/test_other_endpoints.py::test_only_an_object_under_the_key_is_a_conflict",),
    ),
    Sabotage(
        "ignore which attributes an archive keeps",
        "mgmt/services/upload.py",
        '        if not covers(kept or "", hashed.kept):\n',
        "        if False:\n",
        (f"{SEQUENCES}::test_an_archive_without_the_requested_attributes_is_a_conflict",),
    ),
    Sabotage(
        "do not count the attempts of an operation",
        "mgmt/catalog/operations/ending.py",
        "            attempt=job.attempt + 1,\n",
        "            attempt=job.attempt,\n",
        (MODEL,),
    ),
    Sabotage(
        "take a target of a batch that was tried again for one that failed",
        "mgmt/catalog/operations/ending.py",
        "        .where(~exists().where(again.c.retry_of == operations.c.operation_id, "
        "again.c.parent_id == operation_id))\n",
        "",
        (MODEL,),
    ),
)
