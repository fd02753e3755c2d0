"""Run a page's blocks in order, and compare what they print with what the page says.

- A block without a language holds command lines. After a line with the prompt `$ ` follows what it
  prints; a line without a prompt may print anything.
- `export` and `cd` hold for the command lines that follow.
- A block `python` is a program of its own. If it begins with `# NAME.py`, it is that file.
- A block `text` is what the block before it prints.
- A block after `<!-- not run: REASON -->` is not run; of one after `<!-- numbers vary -->`, numbers
  and the width of columns are not compared.

`…` in an output stands for any text; a line of only `…` stands for any lines.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
_BLOCK = re.compile(
    r"^(?:<!-- (not run|numbers vary)[^\n]* -->\n\n?)?```(\w*)\n(.*?)^```", re.M | re.S
)


@dataclass(frozen=True)
class Step:
    """A command line, a program or a file of a page.

    Attributes:
        kind: "shell", "python" or "file".
        code: The text to run or to write.
        expected: Lines that it prints; None if the page does not say.
        mark: "not run", "numbers vary" or "".
    """

    kind: str
    code: str
    expected: tuple[str, ...] | None = None
    mark: str = ""


def steps(text: str) -> list[Step]:
    """Return the steps of a page, in order."""
    found: list[Step] = []
    for mark, language, block in _BLOCK.findall(text):
        if language == "":
            found += [Step("shell", code, out, mark) for code, out in shell_lines(block)]
        elif language == "python":
            found.append(Step("file" if _file_name(block) else "python", block, None, mark))
        elif language == "text":
            last = found.pop()
            assert last.expected is None, f"two outputs of {last.code}"
            lines = tuple(block.splitlines())
            found.append(Step(last.kind, last.code, lines, last.mark))
    return found


def shell_lines(block: str) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """Yield the command lines of a block, each with the lines that it prints, if they are shown."""
    lines = block.splitlines()
    while lines:
        line = lines.pop(0)
        shown = line.startswith("$ ")
        line = line.removeprefix("$ ")
        while lines and not _is_complete(line):
            line += "\n" + lines.pop(0)
        printed = []
        while shown and lines and not lines[0].startswith("$ "):
            printed.append(lines.pop(0))
        if line.strip():
            yield line, tuple(printed) if shown else None


def _is_complete(line: str) -> bool:
    """Return whether a command ends here: no quote is open, and no backslash continues it."""
    try:
        shlex.split(line, comments=True)
    except ValueError:
        return False
    return not line.endswith("\\")


def _file_name(block: str) -> str | None:
    found = re.match(r"# (\w+\.py)\n", block)
    return found and found[1]


def run_page(text: str, folder: Path, stand_ins: Mapping[str, str] | None = None) -> int:
    """Run a page's steps, and fail where one fails or prints other lines than the page has.

    Args:
        text: The page.
        folder: The current directory of the steps.
        stand_ins: What replaces a text of the page in every step, such as a path.

    Returns:
        The number of steps that ran.
    """
    for name, value in (stand_ins or {}).items():
        text = text.replace(name, value)
    ran = [step for step in steps(text) if step.mark != "not run"]
    before = ""
    for step in ran:
        if step.kind == "file":
            (folder / str(_file_name(step.code))).write_text(step.code)
            continue
        code = before + step.code if step.kind == "shell" else step.code
        printed = run(code, folder, step.kind)
        if step.code.startswith(("export ", "cd ")):
            before += f"{step.code}\n"
        if step.expected is not None:
            lines = (step.expected, printed.splitlines())
            if step.mark == "numbers vary":
                lines = tuple([without_numbers(line) for line in part] for part in lines)
            assert same(*lines), f"{step.code}\nprints:\n{printed}"
    return len(ran)


def run(code: str, folder: Path, kind: str = "shell") -> str:
    """Run a command line or a program in a folder, as the docs' reader does; return its output."""
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "100",
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        [sys.executable, "-c", code] if kind == "python" else ["bash", "-c", code],
        cwd=folder, env=environment, check=False, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def without_numbers(line: str) -> str:
    """Return a line with `#` for each number, and single spaces."""
    return " ".join(re.sub(r"[-–]?\d[\d.,]*|–", "#", line).split())


def same(expected: Sequence[str], printed: list[str]) -> bool:
    """Compare lines, without the blank ones."""
    pattern = ""
    for line in filter(str.strip, expected):
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*"
        else:
            pattern += "[^\n]*".join(re.escape(part.strip()) for part in line.split("…")) + r"\n"
    text = "".join(f"{line.strip()}\n" for line in printed if line.strip())
    return re.fullmatch(pattern, text) is not None
