"""The faults of a store, the requests that they hit, and the exit status of each command."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.proxy import ALWAYS, Fault

KEY = r"\.bin\.tar\.gz(\?|$)"
INDEX = r"\.index\.jsonl\.gz"
EVERYTHING = r"^[A-Z]+ /[^?]"

WHERE: dict[str, dict[str, str]] = {
    "upload": {
        "act": f"^PUT .*{KEY}",
        "body": f"^PUT .*{KEY}",
        "index": f"^PUT .*{INDEX}",
        "index body": f"^PUT .*{INDEX}",
    },
    "multipart": {
        "act": r"^POST .*uploadId=",
        "body": r"^POST .*uploadId=",
        "index body": f"^PUT .*{INDEX}",
        "index": f"^PUT .*{INDEX}",
        "part": r"^PUT .*partNumber=",
        "begin": r"^POST .*uploads(=|$)",
    },
    "download": {"act": f"^GET .*{KEY}", "index": f"^GET .*{INDEX}"},
    "delete": {"act": f"^DELETE .*{KEY}", "index": f"^DELETE .*{INDEX}"},
    "verify": {"act": f"^HEAD .*{KEY}"},
    "read-back": {"act": f"^GET .*{KEY}"},
}
"""By command, the requests that a fault hits: `act` is the command's main request. Every command has a `head`."""
COMMANDS = tuple(WHERE)


@dataclass(frozen=True)
class StoreFault:
    """One fault. `ends` are the exit statuses, in the order of COMMANDS; None: it cannot occur."""

    name: str
    act: str
    where: str
    times: int
    ends: tuple[int | None, ...]
    after: int = 0
    chance: float = 1.0

    def end(self, command: str) -> int | None:
        return self.ends[COMMANDS.index(command)]

    def fault(self, command: str) -> Fault:
        """The fault for a proxy. For a request that the command never makes, it never occurs."""
        pattern = {"head": f"^HEAD .*{KEY}", "any": EVERYTHING, **WHERE[command]}.get(self.where, f"^{self.where}$")
        return Fault(pattern, self.act, self.times, self.after, self.chance, seed=7)


def _table(text: str) -> Iterator[StoreFault]:
    for line in text.strip().splitlines():
        name, act, where, times, ends = (column.strip() for column in line.split("|"))
        statuses = tuple(None if each == "-" else int(each) for each in ends.split())
        assert len(statuses) == len(COMMANDS), name
        where, _, after = where.partition("+")
        yield StoreFault(name, act, where, ALWAYS if times == "all" else int(times), statuses, after=int(after or 0))


FAULTS = (
    *_table("""
internal error once         | 500 InternalError      | act        | 1   | 0 0 0 0 0 0
internal error always       | 500 InternalError      | act        | all | 5 5 5 5 5 5
slow down once              | 503 SlowDown           | act        | 1   | 0 0 0 0 0 0
slow down at every HEAD     | 503 SlowDown           | head       | all | 5 5 5 5 5 5
slow down always            | 503 SlowDown           | any        | all | 5 5 5 5 5 5
request timeout once        | 400 RequestTimeout     | act        | 1   | 0 0 0 0 1 0
request timeout always      | 400 RequestTimeout     | act        | all | 5 5 5 5 1 5
request denied              | 403 AccessDenied       | act        | all | 1 1 1 1 1 1
HEAD denied                 | 403 AccessDenied       | head       | all | 1 1 1 1 1 1
index denied                | 403 AccessDenied       | index      | all | 1 1 1 1 - -
credentials expire          | 400 ExpiredToken       | act        | all | 1 1 1 1 1 1
credentials have expired    | 400 ExpiredToken       | any        | all | 1 1 1 1 1 1
precondition failed once    | 412 PreconditionFailed | act        | 1   | 0 0 8 10 10 8
conflict once               | 409 OperationAborted   | act        | 1   | 0 0 5 5 10 5
conditions not supported    | 501 NotImplemented     | act        | 1   | 0 0 1 1 1 1
dropped once                | drop                   | act        | 1   | 0 0 0 0 0 0
dropped always              | drop                   | act        | all | 5 5 5 5 5 5
every request dropped       | drop                   | any        | all | 5 5 5 5 5 5
answer lost once            | lose-answer            | act        | 1   | 0 0 0 0 0 0
answer lost always          | lose-answer            | act        | all | 0 0 5 0 5 5
answer to index lost once   | lose-answer            | index      | 1   | 0 0 0 0 - -
answer to index lost always | lose-answer            | index      | all | 0 0 5 0 - -
answer to HEAD lost always  | lose-answer            | head       | all | 5 5 5 5 5 5
reset once                  | reset                  | act        | 1   | 0 0 0 0 0 0
reset always                | reset                  | any        | all | 5 5 5 5 5 5
cut answer once             | cut-answer             | act        | 1   | 0 0 0 0 5 0
cut answer always           | cut-answer             | act        | all | 0 0 5 0 5 5
half an answer to HEAD      | cut-answer             | head       | all | 5 5 5 5 5 5
answer of a captive portal  | 200 Portal             | any        | all | 5 5 5 5 5 5
cut index always            | cut-answer             | index      | all | 0 0 5 0 - -
answer hangs once           | hang-answer            | act        | 1   | 0 0 0 0 0 0
corrupt request once        | flip-request           | body       | 1   | 0 0 - - - -
corrupt request always      | flip-request           | body       | all | 8 8 - - - -
corrupt index always        | flip-request           | index body | all | 8 8 - - - -
corrupt part once           | flip-request           | part       | 1   | - 0 - - - -
corrupt part always         | flip-request           | part       | all | - 8 - - - -
corrupt answer once         | flip-answer            | act        | 1   | 0 0 8 0 0 8
corrupt answer always       | flip-answer            | act        | all | 0 0 8 0 8 8
corrupt HEAD always         | flip-answer            | head       | all | 8 8 8 0 8 8
corrupt answer to index     | flip-answer            | index      | 1   | 0 0 8 0 - -
wrong size in HEAD          | grow-answer            | head       | all | 10 10 0 0 8 8
delayed                     | delay                  | act        | 1   | 0 0 0 0 0 0
stalled once                | stall                  | act        | 1   | 0 0 0 0 0 0
stalled always              | stall                  | act        | all | 5 5 5 5 5 5
slow answer                 | slow                   | act        | 1   | 0 0 0 0 0 0
request repeated once       | twice                  | act        | 1   | 0 0 0 0 0 0
every request repeated      | twice                  | any        | all | 0 0 0 0 0 0
create multipart fails      | 503 SlowDown           | begin      | all | - 5 - - - -
create multipart repeated   | lose-answer            | begin      | 1   | - 0 - - - -
a part denied               | 403 AccessDenied       | part+1     | all | - 1 - - - -
a part lost                 | lose-answer            | part       | 1   | - 0 - - - -
a part dropped always       | drop                   | part+1     | all | - 5 - - - -
no such upload              | 404 NoSuchUpload       | part+1     | all | - 5 - - - -
"""),
)
