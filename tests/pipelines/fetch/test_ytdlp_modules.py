"""The modules that yt-dlp leaves behind can be searched, as pickle and torch.compile do."""

import subprocess
import sys

_SEARCH = """
import sys
import yt_dlp
for name, module in list(sys.modules.items()):
    if name.startswith("yt_dlp"):
        getattr(module, "no_such_name", None)
"""


def test_a_search_of_all_modules_finds_nothing_broken() -> None:
    subprocess.run([sys.executable, "-c", _SEARCH], check=True)
