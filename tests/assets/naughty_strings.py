# ruff: noqa: E501, SIM905
"""Some 500 names that have broken programs, in families, made by rule where there is one.

None has a slash or NUL, each is at most 255 bytes, and no two are the same: each is a name that Linux allows.
"""

RESERVED = (
    "undefined null nil NULL None true false True NaN Infinity -Infinity inf nan hasOwnProperty constructor __proto__ "
    "then class def self import exec eval SELECT DROP TABLE index default localhost admin root etc passwd bin dev proc"
).split()
WINDOWS = [
    f"{name}{end}"
    for name in ("CON", "PRN", "AUX", "NUL", "COM1", "COM9", "LPT1", "LPT9", "CLOCK$", "con", "nul", "aux")
    for end in ("", ".txt", ".", " ")
] + ["a:b", "a<b>c", 'a"b', "a|b", "a?b", "a*b", "C:\\x", "\\\\host\\share", "desktop.ini", "Thumbs.db", "trailing. "]
NUMBERS = "0 1 -1 1.00 $1.00 1/2 1E2 0x10 1e400 -0 00 08 1_000 1,000 1..2 0xffffffff 9223372036854775808".replace(
    "/", ":"
)
PUNCTUATION = [chr(code) for code in range(32, 127) if chr(code) not in "/."] + [
    f"a{chr(code)}b" for code in range(32, 127) if chr(code) != "/"
]
CONTROLS = [f"c{chr(code)}d" for code in (*range(1, 32), *range(0x7F, 0xA0))]
SPACES = [
    f"s{chr(code)}p"
    for code in (0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF, 0x180E)
] + [" ", "  ", " lead", "trail ", "\t", "\n", "a\n", "\na", "a\r\nb"]
PATHS = (
    "... .... .hidden ..hidden hidden. ~ ~root -rf -- --help -n -o --key=x * ? [a] {a,b} $HOME $(id) `id` ${IFS} %00 %2e%2e "
    "%2F %25 %252F ..%2f ..\\..\\x ..%5c file: s3: http: .mgmt .mgmt-0123456789ab.partial completed .git .. .tar.gz "
    "a.tar.gz x.index.jsonl.gz x.0123456789ab.index.jsonl.gz"
).split()
SQL = [
    "'", "''", "' OR '1'='1", "'; DROP TABLE members;--", 'a" OR "a"="a', "1;DELETE FROM files", "admin'--", "\\'",
    "x' UNION SELECT 1--", "%", "_", "%_%", "100%", "a_b", "!%", "NEAR(a b)", "a AND b", "a*", "^a", "`a`",
]  # fmt: skip
SCRIPTS = [
    "<script>alert(1)<script>", "javascript:alert(1)", "<img src=x onerror=alert(1)>", "<!--", "]]>", "&lt;", "{{7*7}}",
    "${7*7}", "#{7*7}", "<%= 7 %>", "$(touch x)", "`touch x`", "| touch x", "; touch x", "&& touch x", "> x", "!!", "!$",
    "%s%s%s%n", "%d", "%x", "%(name)s", "{0}", "{}", "{name!r}", "{0.__class__}", "$1", "\\1", "\\x00", "\\u0000", "\\n",
    "=1+1", "+1", "-1+1", "@SUM(A1)", "=cmd|' C'!A0", "() { :;}; x", "[bold]x[/bold]".replace("/", ""), ":smile:",
]  # fmt: skip
SCRIPTS_OF_THE_WORLD = (
    "田中さん 和製漢語 部落格 사회과학원 찦차를 울란바토르 𠜎𠜱𠝹 Привет Ёжик مرحبا בְּרֵאשִׁית עברית हिन्दी ไทย ბაღი Ελλάδα Ⱥ Ⱦ "
    "İstanbul ıI ß ẞ ŉ ǰ ΐ ﬃ ſ K Å Ω Å ñ ç ą ő ø œ æ þ 表ポあ 能 ♪ ☃ ™ ® ¼ Ⅷ ﷽ ꙮ"
).split()
EMOJI = ["😍", "👩🏽", "👨‍👩‍👧‍👦", "🇩🇪", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🏳️‍🌈", "0️⃣", "❤️", "❤", "👾 🙇 💁", "(｡◕ ∀ ◕｡)", "¯\\_(ツ)_¯", "ヽ༼ຈل͜ຈ༽ﾉ"]
DECEIVING = (
    [
        f"photo{mark}gpj.exe"
        for mark in "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\u061c\u00ad"
    ]
    + ["Z" + "\u0335\u0321\u0322" * n for n in (1, 5, 20)]
    + ["аpple", "apple", "pay\u2024pal", "\U000e0041\U000e0042"]
)
TWINS = [
    "\u00e9", "e\u0301", "\u00c5", "A\u030a", "\u212b", "\uac00", "\u1100\u1161", "\u1e69", "s\u0323\u0307", "s\u0307\u0323",
    "\ufb01", "fi", "\u2460", "CASE", "Case", "case", "cAse", "STRASSE", "stra\u00dfe", "strasse", "\u0130", "i\u0307",
]  # fmt: skip
SEQUENCES = [
    "\x1b[31mred", "\x1b[2J", "\x1b]0;title\x07", "\x1b[6n", "\x9b2J", "\x1bc", "\x1b]8;;x\x1b\\", "a\bb", "a\x7fb", "\x04",
]  # fmt: skip
LONG = [
    "n" * 255,
    "é" * 127,
    "\u20ac" * 85,
    "😍" * 63,
    "%" * 255,
    "." * 255,
    " " * 255,
    "\\" * 200,
    "'" * 255,
    "a" * 250 + ".jpg",
]

NAUGHTY: tuple[str, ...] = tuple(
    dict.fromkeys(
        name
        for family in (
            RESERVED, WINDOWS, NUMBERS.split(), PUNCTUATION, CONTROLS, SPACES, PATHS, SQL, SCRIPTS, SCRIPTS_OF_THE_WORLD,
            EMOJI, DECEIVING, TWINS, SEQUENCES, LONG,
        )
        for name in family
        if name not in ("", ".", "..") and "/" not in name and "\0" not in name and len(name.encode()) <= 255
    )
)  # fmt: skip
