"""Which requests are answered: a table of those that are not."""

from dataclasses import replace

import pytest

from mgmt.web.guard import LONGEST_TARGET, Guard, Refusal
from mgmt.web.request import Request

PORT = 4711
GUARD = Guard(PORT)
HOME = Request(method="GET", target="/", headers={"host": [f"127.0.0.1:{PORT}"]})


def with_header(name: str, *values: str) -> Request:
    return replace(HOME, headers={**HOME.headers, name: list(values)})


ANSWERED = {
    "the address that is printed": HOME,
    "localhost": with_header("host", f"localhost:{PORT}"),
    "only the headers": replace(HOME, method="HEAD"),
    "typed into the address bar": with_header("sec-fetch-site", "none"),
    "a link of a page": with_header("sec-fetch-site", "same-origin"),
    "a form of a page": with_header("origin", f"http://127.0.0.1:{PORT}"),
    "the longest folder": replace(HOME, target="/" + "x" * (LONGEST_TARGET - 1)),
}

REFUSED = {
    "POST": (replace(HOME, method="POST"), Refusal.METHOD),
    "PUT": (replace(HOME, method="PUT"), Refusal.METHOD),
    "DELETE": (replace(HOME, method="DELETE"), Refusal.METHOD),
    "OPTIONS": (replace(HOME, method="OPTIONS"), Refusal.METHOD),
    "CONNECT": (replace(HOME, method="CONNECT"), Refusal.METHOD),
    "TRACE": (replace(HOME, method="TRACE"), Refusal.METHOD),
    "lower case": (replace(HOME, method="get"), Refusal.METHOD),
    "an absolute address": (replace(HOME, target=f"http://127.0.0.1:{PORT}/"), Refusal.TARGET),
    "two slashes": (replace(HOME, target="//evil.example/"), Refusal.TARGET),
    "an asterisk": (replace(HOME, target="*"), Refusal.TARGET),
    "nothing": (replace(HOME, target=""), Refusal.TARGET),
    "not ASCII": (replace(HOME, target="/\xff"), Refusal.TARGET),
    "too long": (replace(HOME, target="/" + "x" * LONGEST_TARGET), Refusal.TOO_LONG),
    "no host": (replace(HOME, headers={}), Refusal.HOST),
    "two hosts": (with_header("host", f"127.0.0.1:{PORT}", f"127.0.0.1:{PORT}"), Refusal.HOST),
    "a name that points here": (with_header("host", f"evil.example:{PORT}"), Refusal.HOST),
    "a name that begins so": (with_header("host", f"127.0.0.1.evil.example:{PORT}"), Refusal.HOST),
    "no port": (with_header("host", "127.0.0.1"), Refusal.HOST),
    "another port": (with_header("host", f"127.0.0.1:{PORT + 1}"), Refusal.HOST),
    "another loopback": (with_header("host", f"127.0.0.2:{PORT}"), Refusal.HOST),
    "all addresses": (with_header("host", f"0.0.0.0:{PORT}"), Refusal.HOST),
    "a page of another site": (with_header("origin", "https://evil.example"), Refusal.ORIGIN),
    "a page of another port": (with_header("origin", f"http://127.0.0.1:{PORT + 1}"), Refusal.ORIGIN),
    "a page over TLS": (with_header("origin", f"https://127.0.0.1:{PORT}"), Refusal.ORIGIN),
    "a sandboxed page": (with_header("origin", "null"), Refusal.ORIGIN),
    "two origins": (with_header("origin", f"http://127.0.0.1:{PORT}", "https://evil.example"), Refusal.ORIGIN),
    "a link of another site": (with_header("sec-fetch-site", "cross-site"), Refusal.ORIGIN),
    "a link of another port": (with_header("sec-fetch-site", "same-site"), Refusal.ORIGIN),
    "a site that no browser names": (with_header("sec-fetch-site", "x"), Refusal.ORIGIN),
}


@pytest.mark.parametrize("case", ANSWERED)
def test_a_request_of_a_page_of_this_server_is_answered(case: str) -> None:
    assert GUARD.refusal(ANSWERED[case]) is None


@pytest.mark.parametrize("case", REFUSED)
def test_any_other_request_is_refused(case: str) -> None:
    request, refusal = REFUSED[case]
    assert GUARD.refusal(request) is refusal


def test_the_port_of_http_is_not_named() -> None:
    guard = Guard(80)
    for port in ("", ":80", ":8080"):
        request = with_header("host", f"127.0.0.1{port}")
        assert (guard.refusal(request) is None) == (port == "")
    assert Guard(8080).refusal(with_header("host", "127.0.0.1")) is Refusal.HOST
    assert Guard(8080).refusal(with_header("host", "127.0.0.1:8080")) is None
    assert Guard(180).refusal(with_header("host", "127.0.0.1:180")) is None


OTHERS = {
    "nothing": "", "space": " ", "short": "x", "cut": GUARD.token[:-1], "longer": f"{GUARD.token}x",
    "session": GUARD.session, "not UTF-8": "\udcff", "not ASCII": "é",
}  # fmt: skip


@pytest.mark.parametrize("word", OTHERS.values(), ids=OTHERS)
def test_no_other_word_is_the_token(word: str) -> None:
    assert not GUARD.is_token(word)
    assert GUARD.is_token(GUARD.token)


def test_a_browser_is_known_by_its_cookie_of_this_server() -> None:
    name, value = GUARD.cookie.partition(";")[0].split("=")
    assert GUARD.is_known(with_header("cookie", f"{name}={value}"))
    assert GUARD.is_known(with_header("cookie", f"a=b; {name}={value}; c=d"))
    assert GUARD.is_known(with_header("cookie", "a=b", f"{name}={value}"))
    others = ("", name, f"{name}=", f"{name}=x", f"{name}={value}x", f"x={value}", f"{name}={GUARD.token}", f"={value}")
    for other in (*others, f"{name}=\xff"):
        assert not GUARD.is_known(with_header("cookie", other)), other
    assert not GUARD.is_known(HOME)
    assert not Guard(PORT).is_known(with_header("cookie", f"{name}={value}"))


def test_the_cookie_is_hidden_from_scripts_and_other_sites_and_holds_no_token() -> None:
    assert GUARD.cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert GUARD.token not in GUARD.cookie
    assert GUARD.token not in repr(GUARD)
    assert GUARD.session not in repr(GUARD)
    assert len(GUARD.token) >= 32
