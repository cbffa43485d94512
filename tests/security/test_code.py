"""Calls that the code never makes, and commands that never use the network."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import Program

SOURCES = sorted((Path(__file__).parents[2] / "mgmt").rglob("*.py"))
NEVER_IMPORTED = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "xml"}
PARSES_XML = "mhl/manifest.py"
"""The only module that may import expat, and nothing else of `xml`: it refuses every document type declaration."""
NEVER_CALLED = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "tempfile.mktemp"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCES[0].parents[0])))
def test_the_code_uses_no_pickle_shell_or_eval(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not {each.name.split(".")[0] for each in node.names} & NEVER_IMPORTED
        elif isinstance(node, ast.ImportFrom):
            if str(path).endswith(f"/mgmt/{PARSES_XML}") and node.module == "xml.parsers":
                assert [each.name for each in node.names] == ["expat"]
                assert "parser.StartDoctypeDeclHandler = self._refuse_dtd" in path.read_text("utf-8")
                continue
            assert (node.module or "").split(".")[0] not in NEVER_IMPORTED
        elif isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in NEVER_CALLED
            for each in node.keywords:
                assert each.arg != "shell" or (isinstance(each.value, ast.Constant) and each.value.value is False)


HOOKED = """
import sys
seen = []
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        seen.append(event)
sys.addaudithook(hook)
from mgmt import cli
status = cli.run(sys.argv[1:])
print("NETWORK", status, seen, file=sys.stderr)
"""


def network_use_of(program: Program, *arguments: str) -> str:
    command = [sys.executable, "-c", HOOKED, *arguments]
    done = subprocess.run(command, env=program.env(), cwd=program.work, capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1]


@pytest.fixture
def unreachable(tmp_path: Path) -> Program:
    variables = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    return Program(tmp_path, "s3://bucket/archive", {**variables, "AWS_MAX_ATTEMPTS": "1"})


@pytest.mark.parametrize(
    "line",
    ["--help", "--version", "upload --help", "ls --location local", "ls", "log", "config show", "completion bash"],
)
def test_commands_that_need_no_network_use_none(unreachable: Program, line: str) -> None:
    assert network_use_of(unreachable, *line.split()) == "NETWORK 0 []"


def test_the_hook_sees_a_connection(unreachable: Program) -> None:
    """Without this, the test above could not fail."""
    assert "socket.connect" in network_use_of(unreachable, "ls", "--live")
