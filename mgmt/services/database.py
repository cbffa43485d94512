"""The catalog's database, as an administrator sees it: schema, roles, backup, and the history as a file."""

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from mgmt.catalog import HEAD, Catalog
from mgmt.catalog.audit import export as exports
from mgmt.catalog.audit import import_history as imports
from mgmt.catalog.operations.waiting import settle
from mgmt.catalog.schema import backup as copies
from mgmt.catalog.schema import roles
from mgmt.errors import CatalogError, ReadOnlyCatalogError

if TYPE_CHECKING:  # `migrate` imports Alembic, which is slow: each function that needs it imports it
    from mgmt.catalog.schema.migrate import Revision


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaVersion:
    """The revision of the schema that a catalog has, and the one that this mgmt requires."""

    catalog: str
    current: str | None
    """None for an empty database."""
    head: str
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration(SchemaVersion):
    """The schema after an upgrade or a downgrade."""

    backup: str | None
    """The path of the copy that was made before; None where none was needed."""
    lacking: list[str]
    """What the roles of a PostgreSQL catalog may not do with the new schema, and need."""
    next: str | None
    """The command that grants it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Soundness:
    """The result of a check of the database."""

    catalog: str
    sound: bool
    problems: list[str]
    next: list[str]
    """What to do about them, without repetitions."""
    repaired: list[str]

    @property
    def error(self) -> CatalogError | None:
        """The error that stands for the problems; None when there are none."""
        if self.sound:
            return None
        count = len(self.problems)
        return CatalogError(
            f"the catalog {self.catalog} has {count} {'problem' if count == 1 else 'problems'}",
            next_step="\n  ".join(self.next),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Statements that change the schema from one revision to another."""

    dialect: str
    revisions: str
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolesScript:
    """The roles of a PostgreSQL catalog, and the statements that create them."""

    catalog: str
    owner: str
    writer: str
    reader: str
    applied: bool
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A copy of an SQLite catalog."""

    catalog: str
    backup: str


def version(catalog: Catalog) -> SchemaVersion:
    """Read the revision of the schema. Also for a catalog that is older or newer than this mgmt."""
    found = catalog.database.revision()
    return SchemaVersion(catalog=catalog.database.name, current=found, head=HEAD, is_current=found == HEAD)


def upgrade(revision: str, catalog: Catalog) -> Migration:
    """Upgrade the schema to `revision`, in one transaction; an SQLite catalog is backed up before.

    May be called again: an upgrade to the current revision changes nothing. Raises ConfigurationError for an unknown
    revision, CatalogError when the database cannot be migrated.
    """
    from mgmt.catalog.schema import migrate

    backup = migrate.upgrade(catalog.database, revision)
    if catalog.database.revision() == HEAD:
        catalog.members.index_names()
    return _migration(catalog, backup)


def downgrade(revision: str, catalog: Catalog) -> Migration:
    """Downgrade the schema to `revision` ("base" removes everything), as `upgrade` upgrades it."""
    from mgmt.catalog.schema import migrate

    return _migration(catalog, migrate.downgrade(catalog.database, revision))


def _migration(catalog: Catalog, backup: str | None) -> Migration:
    from mgmt.catalog.schema import soundness

    reached = version(catalog)
    lacking = soundness.missing_rights(catalog.database) if reached.is_current else []
    return Migration(
        **asdict(reached),
        backup=backup,
        lacking=[each.message for each in lacking],
        next=lacking[0].remedy if lacking else None,
    )


def revisions() -> "list[Revision]":
    """Every revision of the schema that this mgmt knows, newest first."""
    from mgmt.catalog.schema import migrate

    return migrate.history()


def check(catalog: Catalog, *, repair: bool = False) -> Soundness:
    """Compare the schema with the records, look for foreign rows, and on SQLite check pages and references.

    With `repair`, first create missing triggers and indexes again and advance the sequences of PostgreSQL, all or
    nothing. Raises CatalogError when the database refuses that.
    """
    from mgmt.catalog.schema import soundness

    repaired = soundness.repair(catalog.database) if repair else []
    defects = soundness.check(catalog.database)
    return Soundness(
        catalog=catalog.database.name,
        sound=not defects,
        problems=[each.message for each in defects],
        next=list(dict.fromkeys(each.remedy for each in defects)),
        repaired=[each.message for each in repaired],
    )


def sql(wanted: str, dialect: str | None, catalog: Catalog) -> Script:
    """The statements for the revisions `wanted` ("OLD:NEW"); without `dialect`, in that of the catalog.

    Runs nothing. Raises ConfigurationError for an unknown revision.
    """
    from mgmt.catalog.schema import migrate

    chosen = dialect or ("sqlite" if catalog.database.is_sqlite else "postgresql")
    return Script(dialect=chosen, revisions=wanted, sql=migrate.sql(chosen, wanted))


def create_roles(prefix: str, catalog: Catalog, *, apply: bool) -> RolesScript:
    """The roles whose names begin with `prefix`; with `apply`, create them and grant their rights, all or nothing.

    May be called again, and must be after an upgrade. Raises ConfigurationError for an SQLite catalog or an invalid
    prefix, CatalogError when the login may not create roles.
    """
    database, names = catalog.database, roles.Roles.named(prefix)
    statements = roles.sql(database, names)
    if apply:
        try:
            roles.apply(database, names)
        except ReadOnlyCatalogError as exc:
            raise CatalogError(
                f"{exc.message}; creating roles needs CREATEROLE, and granting rights the owner of the tables",
                next_step="mgmt db roles | psql ...\n# as an administrator",
            ) from exc
    return RolesScript(catalog=database.name, **asdict(names), applied=apply, sql=statements)


def backup(file: str, catalog: Catalog) -> Backup:
    """Copy an SQLite catalog, in use or not, to the new `file`, and check the copy.

    Raises ConflictError when `file` exists, ConfigurationError for PostgreSQL, CatalogError when the copy cannot be
    made or is not sound.
    """
    return Backup(catalog=catalog.database.name, backup=copies.backup(catalog.database, file))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An export of the history, and what is in it."""

    file: str
    counts: exports.ExchangeResult


def export_history(file: str, catalog: Catalog, *, members: bool) -> Exported:
    """Write the history to the new `file`, compressed if its name ends with `.gz`; `file` appears only when complete.

    Without `members`, leaves out the members of archives. Raises ConflictError when `file` exists.
    """
    catalog.audit.try_seal()
    with copies.new_file(file) as path, open(path + copies.PARTIAL, "wb") as plain, ExitStack() as stack:
        out = stack.enter_context(exports.compressed(plain)) if file.endswith(".gz") else plain
        counts = exports.export(catalog.database, cast("BinaryIO", out), members=members)
    return Exported(file=path, counts=counts)


def write_history(out: BinaryIO, catalog: Catalog, *, members: bool) -> None:
    """Write the history to the open file `out`, uncompressed."""
    catalog.audit.try_seal()
    exports.export(catalog.database, out, members=members)


def import_history(source: BinaryIO, catalog: Catalog, *, update: bool = False) -> exports.ExchangeResult:
    """Add the history in `source` to the catalog, all or nothing; importing it again changes nothing.

    With `update`, records of files and members that differ get the values in `source`. An operation that waits in one
    of them and has ended in the other has ended, and what waits for it here follows.

    Raises ConflictError when the catalog has one of its rows with other values, IntegrityError when `source` is
    incomplete or does not match its seals.
    """
    with catalog.database.transaction() as session:
        imported = imports.import_history(catalog.database, source, update=update)
        settle(session)
    catalog.members.index_names()
    return imported
