"""A catalog for another thread: neither of the two sees or writes what the other has not committed."""

import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from mgmt.catalog import BatchRecord, Catalog, FileRecord, FileStatus, Location, Role, UploadRecord, open_catalog
from mgmt.errors import LostError

Pair = tuple[Catalog, Catalog]


@pytest.fixture
def pair(url: str) -> Iterator[Pair]:
    with closing(open_catalog(url)) as one:
        other = one.for_thread()
        yield one, other
        other.database.close()


def an_upload(path: str) -> UploadRecord:
    return UploadRecord(target_path=path, target_name=path)


def stages(catalog: Catalog) -> dict[str, str | None]:
    with catalog.database.reading() as session:
        return dict(
            session.execute(text("SELECT target_path, stage FROM operations JOIN uploads USING (operation_id)")).all()
        )


def test_a_commit_writes_nothing_of_the_other(pair: Pair) -> None:
    one, other = pair
    with one.journal.record(an_upload("a")) as first, other.journal.record(an_upload("b")) as second:
        first.stage = second.stage = "half"
        one.journal.checkpoint()
        assert stages(one) == stages(other) == {"a": "half", "b": None}
        other.journal.checkpoint()
        assert stages(one) == {"a": "half", "b": "half"}


def test_a_rollback_discards_nothing_of_the_other(pair: Pair) -> None:
    one, other = pair
    with one.journal.record(an_upload("a")) as first:
        first.stage = "kept"
        with suppress(ZeroDivisionError), other.journal.record(an_upload("b")) as second:
            second.stage = "discarded"
            raise ZeroDivisionError
    assert stages(one) == {"a": "kept", "b": None}


def test_threads_write_in_turn(pair: Pair) -> None:
    """Each transaction commits all of its own, and nothing of another."""
    wrong: list[object] = []

    def write(catalog: Catalog, name: str) -> None:
        for number in range(15):
            path = f"{name}{number}"
            with catalog.journal.record(an_upload(path), claim=path) as upload:
                with catalog.transaction():
                    upload.stage = "half"
                    file = FileRecord(path=f"/{path}", location=Location.LOCAL, host="h", status=FileStatus.COMPLETED)
                    catalog.journal.link(upload, catalog.metadata.save_file_record(file), Role.SOURCE)
                    upload.stage = "whole"
                wrong.extend(stage for stage in stages(catalog).values() if stage not in (None, "whole"))

    threads = [threading.Thread(target=write, args=each) for each in zip(pair, "ab", strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert stages(pair[0]) == {f"{name}{number}": "whole" for name in "ab" for number in range(15)}
    assert len(pair[0].metadata.list_files(limit=None)) == 30
    pair[0].audit.seal()
    assert list(pair[0].audit.verification().findings()) == []


def test_each_confirms_the_operations_of_its_own(pair: Pair) -> None:
    """One that another host has taken over commits nothing more; the other is not concerned."""
    one, other = pair
    taken = text("UPDATE operations SET owner = 'elsewhere boot 1 1' WHERE operation_id = :id")
    with (
        one.journal.record(BatchRecord(target_path="x", target_name="x")),
        suppress(LostError),
        other.journal.record(an_upload("a")) as upload,
    ):
        with one.database.transaction() as session:
            session.execute(taken, {"id": upload.operation_id})
        one.journal.confirm()
        with pytest.raises(LostError):
            other.journal.confirm()
        raise LostError("as its owner would see")


def test_a_detached_record_can_be_read_in_any_thread(pair: Pair) -> None:
    _, other = pair
    with other.journal.record(an_upload("a")) as upload:
        pass
    other.database.detach(upload)
    other.database.detach(upload)
    other.database.close()
    facts = upload.as_dict()
    assert (facts["status"], facts["stage"], facts["proof"]) == ("success", None, None)
    assert upload.seq is not None
    assert upload.sha256 is not None


def test_a_listener_can_listen_everywhere(pair: Pair) -> None:
    one, other = pair
    heard: list[str] = []

    def note(session: Session, _flush: object) -> None:
        heard.extend(each.path for each in session.new if isinstance(each, FileRecord))

    one.database.listen("after_flush", note)
    own = one.for_thread()
    one.database.listen("after_flush", note, everywhere=True)
    later = one.for_thread()
    for catalog, path in ((own, "/unheard"), (later, "/heard")):
        catalog.metadata.save_file_record(FileRecord(path=path, location=Location.LOCAL, host="h"))
        catalog.database.close()
    assert heard == ["/heard"]
    assert other.metadata.get_file_record("/unheard") is None
