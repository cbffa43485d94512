# ruff: noqa: E501
"""Texts that have made servers read other files, or databases run other statements."""

PATHS = (
    "..", "../", "../../etc/passwd", "../../../../../../../../etc/passwd", "/etc/passwd", "//etc/passwd", "..\\..\\",
    "..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%252f..%252fetc%252fpasswd", "....//....//etc/passwd",
    "..;/..;/", "..%c0%af..%c0%afetc/passwd", "..%ef%bc%8f", "%00", "%2500", "x%00.html", "file:///etc/passwd",
    "http://evil.example/", "\\\\evil.example\\share", "C:\\Windows\\win.ini", "/proc/self/environ", "/dev/zero", "~root",
    "$HOME", "${HOME}", "style.css", "assets/style.css", "../assets/style.css", "pages/base.html", "browse/base.html",
    "{{7*7}}", "{% include 'base.html' %}", "${7*7}", "#{7*7}", "a/../b", "./", ".", "%2e", "*", "?", "#", ";",
    "\r\nX-Injected: 1", "%0d%0aX-Injected:%201", "x\r\n\r\n<html>",
)  # fmt: skip
SQL = (
    "'", "''", '"', "`", "\\", ";", "--", "/*", "*/", "#", "' OR '1'='1", "' OR 1=1--", '" OR ""="', "1 OR 1=1", "1) OR (1=1",
    "'; DROP TABLE files; --", "1; DELETE FROM members", "1 UNION SELECT name FROM sqlite_master", "' UNION SELECT NULL--",
    "x' AND 1=(SELECT COUNT(*) FROM files); --", "1' AND SLEEP(5)--", "'; SELECT pg_sleep(5)--", "1 || pg_sleep(5)",
    "ATTACH DATABASE '/tmp/x' AS x", "PRAGMA query_only=OFF", "'; PRAGMA query_only=OFF; --", "1e308", "-1", "0", "00", "1.0",
    "0x1", "1_000", "٣", "９", "9223372036854775807", "9223372036854775808", "18446744073709551616", "9" * 400, "NULL",
    "null", "true", "NaN", "%", "_", "%%", "a%b", "!", "!%", "*", "a*", '"a"', "NEAR(a b)", "a OR b", "NOT a", "^a", "name:a",
    ":x", "$1", "%s", "%(x)s", "{0}", "?", "[a]", "{}", "\x01", "\x7f", "\u2028", "\ufeff", "\udcff", "\udcc3(", "🤷" * 300,
)  # fmt: skip
SCRIPTS = (
    "<script>alert(1)</script>", '"><script>alert(1)</script>', "'><img src=x onerror=alert(1)>", "<svg onload=alert(1)>",
    "javascript:alert(1)", '" onmouseover="alert(1)', "</title><script>alert(1)</script>", "</style><script>1</script>",
    "<!--", "-->", "]]>", "&lt;script&gt;", "<a href=//evil.example>x</a>", "<base href=//evil.example>", "\u202egpj.exe",
)  # fmt: skip
