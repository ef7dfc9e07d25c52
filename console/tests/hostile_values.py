"""Values that break programs: numbers, Unicode, NUL, injection, formulas, nesting, wrong types. 30 always, all by flag.

Each is a text as a form or an address carries it; the gate also gets them as numbers, lists and objects of JSON.
"""

# ruff: noqa: E501
from itertools import product
from typing import Final

_NUMBERS: Final = (
    "-1", "0", "-0", "+1", "1.5", "1,5", "1e3", "1e309", "-1e309", "NaN", "Infinity", "-Infinity", "0x10", "0b1", "0o7",
    "1_000", "00001", "2147483648", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "9" * 40,
    "0." + "0" * 40 + "1", "１２３", "٣٤٥", "१२३", "Ⅷ", "½", "1 000", "1\u00a0000", "1\u2009000",
    "$25", "25.00 USD", "1/0", "١٫٥",
)  # fmt: skip
_UNICODE: Final = (
    "\x00", "a\x00b", "\x01\x02\x1b[31m", "\x7f", "\u0085", "\u2028", "\u2029", "\ufeff", "\ufffe", "\uffff", "\u200b",
    "a\u200bb", "\u202eevil", "\u2066x\u2069", "e\u0301" * 50, "Z\u0351\u036b\u0343" * 40, "😀", "👨‍👩‍👧‍👦" * 20,
    "\U000e0041",
    "ﷺ" * 50, "İstanbul", "ß" * 100, "ǆ", "\u0130", "日本語", "العربية", "\u00a0", "\t", "\n", "\r\n", " ", "", "𝔘𝔫𝔦", "\ud7ff",
)  # fmt: skip
_INJECTION: Final = (
    "'", '"', "`", "\\", "';--", "' OR '1'='1", "1; DROP TABLE accounts_user;--", "1) UNION SELECT NULL--", "pg_sleep(5)",
    "'||pg_sleep(0)||'", "$$", "%", "%s", "%(id)s", "%n%n%n", "{0}", "{0.__class__}", "{{7*7}}", "{% debug %}", "${7*7}",
    "#{7*7}", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "<!--", "]]>", "&#0;",
    "a\r\nSet-Cookie: x=1", "a\nX-Evil: 1", "%0d%0aX: 1", "../../etc/passwd", "..\\..\\windows", "/etc/passwd", "%2e%2e%2f",
    "file:///etc/passwd", "http://169.254.169.254/", "//evil.example", "https://evil.example", "\\\\evil", "`id`", "$(id)",
    "|id", ";id", "&& id", "(*)", "*)(uid=*", "//*", "__proto__", "constructor", "null", "None", "undefined", "true", "false",
    "__import__('os')", "!!python/object", "<?xml version='1.0'?><!DOCTYPE x>", "=cmd|'/C calc'!A0", "=1+1", "+1+1", "-1+1",
    "@SUM(1)", "\t=1", "\r=1", "＝1+1", '=HYPERLINK("http://x")', "[]", "{}", "[[[[]]]]", '{"a":' * 50, "[" * 1_000, "[1,2]",
    '{"$gt":""}', "a=1&a=2", "admin", "root", "CON", "nul", ".", "..", "...", "~", "*", "?", "#", "/", ":", ";", ",",
)  # fmt: skip
_LONG: Final = ("a" * 256, "a" * 5_000, "9" * 5_000, "é" * 3_000, "😀" * 1_000, "a " * 2_000, "/" * 500, "%" * 500)
_WRAPPED: Final = tuple(
    before + value + after
    for (before, after), value in product(
        ((" ", " "), ("\x00", ""), ("", "\u200b"), ("%00", ""), ("1", "1")), (*_NUMBERS[:16], *_INJECTION[:20])
    )
)

ALL: Final = tuple(dict.fromkeys((*_NUMBERS, *_UNICODE, *_INJECTION, *_LONG, *_WRAPPED)))
SOME: Final = tuple(
    dict.fromkeys(
        (
            *("\x00", "-1", "1e309", "NaN", "9" * 40, "１２３", "٣٤٥", "9223372036854775808", "", "a" * 5_000),
            *("\u202eevil", "\u200b", "😀", "\U000e0041", "\ufffe", "e\u0301" * 50, "' OR '1'='1", "{{7*7}}", "%(id)s"),
            *("<script>alert(1)</script>", "a\r\nSet-Cookie: x=1", "../../etc/passwd", "//evil.example", "=1+1"),
            *("[" * 1_000, '{"$gt":""}', "[]", "null", "true", "2147483648"),
        )
    )
)
# What no JSON of the gate may hold in place of a text or a number, beside the texts above.
JSON: Final = (None, True, -1, 0, 1.5, 10**40, [], {}, [1], {"a": 1}, [[[[[[[[]]]]]]]], ["x"] * 2_000)
