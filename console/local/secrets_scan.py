"""Looks for keys, the product's own too, and passwords in the files that git would keep. Quiet outside a git work tree.

The keyword detector is off: it takes every constant with "secret" in its name for one. Tests are left out: they plant
what the product has to hide.
"""

import subprocess
import sys
from pathlib import Path

from accounts.key_text import find_all

LEFT_OUT = (":!requirements*.txt", ":!*.woff2", ":!*.png", ":!*.csv", ":!*/static/*", ":!*/tests/*")


def main() -> int:
    """Scan; the exit status is not 0 when something was found."""
    listed = subprocess.run(["git", "ls-files", "-z", "--", ".", *LEFT_OUT], capture_output=True, check=False)
    names = [name for name in listed.stdout.decode().split("\0") if name and Path(name).is_file()]
    if listed.returncode != 0 or not names:
        return 0
    scanner = Path(sys.executable).parent / "detect-secrets-hook"
    result = subprocess.run([scanner, "--disable-plugin", "KeywordDetector", *names], check=False)
    leaks = [f"{name}: the key {prefix}..." for name in names for prefix in find_all(_text(name))]
    for leak in leaks:
        print(leak, file=sys.stderr)
    return result.returncode or bool(leaks)


def _text(name: str) -> str:
    return Path(name).read_text(encoding="utf-8", errors="replace")


if __name__ == "__main__":
    sys.exit(main())
