"""A realistic collection: archives of trips, phones, projects and papers, with realistic file names.

Nothing is written to a disk. The same number always gives the same archive.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from mgmt.archive.member import Member, Type

PLACES = (
    "Brittany", "Lisbon and the Alentejo", "Lake Garda", "Tromsø", "Grandma's 80th birthday", "Kyoto",
    "Wedding of Ines and Paul", "The old garden", "Hamburg harbour", "Sankt Peter-Ording", "Corsica",
    "School theatre", "Édinbourg",
)  # fmt: skip
PEOPLE = ("Anna", "Ben", "Chiara", "David", "Emre", "Françoise", "Greta", "Hannes", "Ida", "Jonas")
CAMERAS = (("Sony A7 III", "DSC{:05d}", "ARW"), ("Canon 6D", "IMG_{:04d}", "CR2"), ("Lumix G9", "P1{:06d}", "RW2"))
WORDS = (
    "account", "archive", "button", "calendar", "client", "config", "filter", "gallery", "header", "index", "invoice",
    "layout", "lighthouse", "loader", "mailer", "order", "parser", "payment", "picture", "player", "profile", "query",
    "report", "route", "schema", "search", "session", "shipping", "store", "stream", "table", "thumbnail", "upload",
    "user", "video", "widget",
)  # fmt: skip
ENDINGS = ("py", "ts", "tsx", "css", "json", "svg", "test.ts", "html", "md", "java")
FIRMS = ("Müller GmbH", "Nordlicht AG", "Stadtwerke", "Finanzamt", "Café Central", "Atelier Leroux", "Acme Ltd")
TEN_YEARS = 10 * 365 * 24 * 3600

_Files = Iterator[tuple[str, str, int]]
"""The folder, the name and the size of each file."""


def archive(number: int, count: int) -> Iterator[Member]:
    """The `count` members of archive `number`, in the order of a tar."""
    chance = random.Random(number)
    began = datetime(2012, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(TEN_YEARS))
    kind = (_trip, _phone, _project, _papers)[number % 4]
    return islice(_members(kind(chance, number, began), began, chance), count)


def _members(files: _Files, began: datetime, chance: random.Random) -> Iterator[Member]:
    offset = 0
    known = {""}
    for folder, name, size in files:
        new = []
        above = folder
        while above not in known:
            known.add(above)
            new.append(above)
            above = above.rpartition("/")[0]
        # A memory card stores whole seconds, a disk nanoseconds.
        stamp = (int(began.timestamp()) + chance.randrange(1_000_000)) * 10**9
        stamp += 0 if name[0].isupper() else chance.randrange(10**9)
        for each in reversed(new):
            yield _member(each, "d", 0, stamp, offset, None)
            offset += 512
        yield _member(f"{folder}/{name}", "f", size, stamp, offset, chance.randbytes(32))
        offset += 512 + (size + 511) // 512 * 512


def _member(path: str, type_: Type, size: int, stamp: int, offset: int, sha256: bytes | None) -> Member:
    return Member(path, type_, 0o644 if sha256 else 0o755, stamp, size, offset, offset + 512, sha256, None)


def _trip(chance: random.Random, number: int, began: datetime) -> _Files:
    root = f"{began:%Y-%m-%d} {chance.choice(PLACES)} {number}"
    camera, pattern, raw = chance.choice(CAMERAS)
    shot = chance.randrange(9000)
    day = 0
    while True:
        day += 1
        folder = f"{root}/{began + timedelta(days=day):%Y-%m-%d}/{camera}"
        for _ in range(chance.randrange(50, 400)):
            shot = (shot + 1) % 10_000
            name = pattern.format(shot)
            yield folder, f"{name}.JPG", chance.randrange(4_000_000, 12_000_000)
            yield folder, f"{name}.{raw}", chance.randrange(22_000_000, 34_000_000)
            if shot % 5 == 0:
                yield folder, f"{name}.xmp", chance.randrange(2_000, 9_000)


def _phone(chance: random.Random, number: int, began: datetime) -> _Files:
    root = f"Phone of {chance.choice(PEOPLE)} {began:%Y} {number}"
    at = began
    while True:
        folder = f"{root}/DCIM/{at:%Y-%m}"
        for _ in range(chance.randrange(100, 500)):
            at += timedelta(seconds=chance.randrange(20, 20_000))
            match chance.randrange(8):
                case 0:
                    yield folder, f"VID_{at:%Y%m%d_%H%M%S}.mp4", chance.randrange(5_000_000, 400_000_000)
                case 1:
                    yield folder, f"PXL_{at:%Y%m%d_%H%M%S}{chance.randrange(1000):03d}.MP.jpg", 4_000_000
                case 2:
                    yield (
                        folder,
                        f"IMG-{at:%Y%m%d}-WA{chance.randrange(200):04d}.jpg",
                        chance.randrange(60_000, 400_000),
                    )
                case _:
                    yield folder, f"IMG_{at:%Y%m%d_%H%M%S}.jpg", chance.randrange(2_000_000, 6_000_000)


def _project(chance: random.Random, number: int, began: datetime) -> _Files:
    root = f"{chance.choice(WORDS)}-{chance.choice(WORDS)}-{number}"
    while True:
        folder = "/".join([root, chance.choice(("src", "lib", "tests", "assets")), *chance.choices(WORDS, k=3)])
        for _ in range(chance.randrange(3, 30)):
            name = "_".join(chance.choices(WORDS, k=chance.randrange(1, 4)))
            yield folder, f"{name}.{chance.choice(ENDINGS)}", chance.randrange(100, 60_000)


def _papers(chance: random.Random, number: int, began: datetime) -> _Files:
    root = f"Papers {began:%Y} {number}"
    serial = 0
    while True:
        month = f"{began:%Y}-{chance.randrange(1, 13):02d}"
        firm = chance.choice(FIRMS)
        for _ in range(chance.randrange(5, 60)):
            serial += 1
            yield (
                f"{root}/{month}/{firm}",
                f"Invoice {month}-{serial:05d} {firm}.pdf",
                chance.randrange(30_000, 3_000_000),
            )
