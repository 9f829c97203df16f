"""Lines of the files of deploy/ that are comments until erasing is switched on."""

import re

_ERASING = re.compile(r"^( *)# ?(.*(?:erase-database-url|ERASE_DATABASE_URL_FILE).*)$", re.MULTILINE)


def uncommented(text: str) -> str:
    """Return the text of a file with the lines that switch erasing on."""
    return _ERASING.sub(r"\1\2", text)
