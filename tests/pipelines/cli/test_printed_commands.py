"""Every command that is printed runs as it is printed, in the shell that it was printed to."""

import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from avstore.manifests import commands
from tests.conftest import REPO
from tests.media import make_clip

BIN = Path(sys.executable).parent
_PLACE = r"(?:'[^']*/|[\w./-]*/)?"
_COMMAND = re.compile(
    rf"(?<![\w./'-])(?:{_PLACE}avstore'? (?=[a-z])"
    rf"|{_PLACE}python[\d.]*'? (?=train/|-m avstore)|make (?=[a-z]+-shards))"
)
_WRONG_PLURAL = re.compile(r"(?<!of )\b1 (shards|clips|files|problems|tasks|rows)\b(?!/)")
_LABELS = ("playing banjo", "dog barking")


def printed(text: str) -> list[str]:
    """Return every command of a text, up to the end of its line or of its sentence's part."""
    found, start = [], 0
    while match := _COMMAND.search(text, start):
        found.append(_until_end(text[match.start() :].splitlines()[0]))
        start = match.start() + len(found[-1])
    return found


def _until_end(line: str) -> str:
    quoted = False
    for place, letter in enumerate(line):
        quoted ^= letter == "'"
        if not quoted and re.match(r"; |, |\)(?!\w)|\.$", line[place:]):
            return line[:place]
    return line


def test_commands_are_found_in_sentences() -> None:
    text = (
        "avstore: no store; to build one, run: /a/b/avstore sql 'a; b, c' --store 'x y'\n"
        "(described by .venv/bin/avstore datasets card vggsound): make ave-shards SOURCE='a b'\n"
        "  '/a b/bin/python' train/run.py --shards data; or else"
    )
    assert printed(text) == [
        "/a/b/avstore sql 'a; b, c' --store 'x y'",
        ".venv/bin/avstore datasets card vggsound",
        "make ave-shards SOURCE='a b'",
        "'/a b/bin/python' train/run.py --shards data",
    ]


@dataclass
class Shell:
    """A user's shell: a folder, a PATH, and what stands for /path/to/… .

    Attributes:
        folder: The current directory.
        path: PATH.
        places: Placeholders in printed commands, and what the user writes instead.
        ran: Commands that were printed and run.
    """

    folder: Path
    path: str
    places: dict[str, Path]
    ran: set[str] = field(default_factory=set)

    def run(self, line: str, codes: tuple[int, ...] = (0,), *, follow: bool = True) -> str:
        """Run a line, then every command that it prints unless not to follow; return its output."""
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=self.folder,
            env=self.environment(),
            check=False,
            capture_output=True,
            text=True,
            timeout=280,
        )
        output = done.stdout + done.stderr
        assert done.returncode in codes, f"{line}: {done.returncode}\n{output}"
        assert not _WRONG_PLURAL.search(output), output
        if follow:
            self.follow(output)
        return output

    def follow(self, output: str) -> None:
        """Run every command that was printed."""
        for command in printed(output):
            self.run_printed(command)

    def run_printed(self, command: str) -> None:
        """Run a printed command unless it was run before, or needs the network."""
        if command in self.ran or "youtube" in command:
            return
        self.ran.add(command)
        for place, path in self.places.items():
            command = command.replace(place, shlex.quote(str(path)))
        assert "/path/to" not in command
        if "train/run.py" in command or "train.run" in command:
            self.train(command)
        else:
            self.run(command, codes=(0, 1))  # 1: it ran, and found a problem

    def train(self, command: str) -> None:
        """Start a training, and stop it when it trains."""
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            cwd=self.folder,
            env=self.environment() | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        seen = ""
        for line in process.stdout:
            seen += line
            if "parameters" in line:
                break
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        seen += process.communicate(timeout=120)[0]
        trains = "parameters" in seen or "is finished already" in seen  # by another printed line
        assert trains, f"{command}\n{seen}"
        ended = process.returncode in {0, 130} or "results.duckdb" in seen  # stopped at its exit
        assert ended, f"{command}: {process.returncode}\n{seen}"

    def environment(self) -> dict[str, str]:
        kept = ("HOME", "LANG", "AVSTORE_RATE_STATE", "PYTHONDONTWRITEBYTECODE")
        return {"PATH": self.path} | {n: os.environ[n] for n in kept if n in os.environ}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of VGGSound, a file of no clip, and a row that cannot be used."""
    folder = tmp_path_factory.mktemp("the corpus")
    rows = []
    for index in range(6):
        name = f"-id_{index:07d}"[:11]
        make_clip(folder / "videos" / f"{name}_000030.mp4", tone_hz=200 + 90 * index, seed=index)
        rows.append(f"{name},30,{_LABELS[index % 2]},{'test' if index > 3 else 'train'}")
    (folder / "videos" / "holiday.mp4").write_text("")
    (folder / "vggsound.csv").write_text("\n".join([*rows, *["short"] * 6]) + "\n")
    return folder


def shell(folder: Path, path: str, corpus: Path) -> Shell:
    videos, rows, other = corpus / "videos", corpus / "vggsound.csv", folder / "another store"
    places = {"/path/to/videos": videos, "/path/to/vggsound.csv": rows, "/path/to/store": other}
    return Shell(folder, path, places)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose path has a space, in which a run leaves nothing in the repository."""
    ready, needed = REPO / ".venv/.ready", (REPO / "pyproject.toml", REPO / "requirements.lock")
    if not ready.is_file() or any(x.stat().st_mtime > ready.stat().st_mtime for x in needed):
        pytest.skip("the virtual environment is not that of make setup")
    folder = tmp_path / "the clone"
    folder.mkdir()
    for path in REPO.iterdir():
        if path.name not in {"data", "runs"}:
            (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_sample_by_make(clone: Path, corpus: Path) -> None:
    user = shell(clone, os.defpath + ":/usr/local/bin", corpus)
    make = shutil.which("make")
    assert make
    user.path = f"{Path(make).parent}:{user.path}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = user.run("make vggsound-shards", follow=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 110  # 41 s of CPU on a quiet machine, on all cores
    user.follow(shown)
    assert "make vggsound-shards SOURCE=/path/to/videos" in shown
    assert "--stream sample-4" in shown
    assert any(command.startswith("make vggsound-shards SOURCE=/path") for command in user.ran)
    avstore = next(c for c in user.ran if "avstore" in c).split(" ")[0]
    for words in ("status", "verify", "index", "gc", "stats vggsound", "tasks check sample-4"):
        user.run(f"{avstore} {words}")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_own_folder_and_a_second_dataset_by_avstore(tmp_path: Path, corpus: Path) -> None:
    folder = tmp_path / "it's mine"
    user = shell(folder, f"{BIN}:{os.defpath}", corpus)
    make_clip(folder / "my videos" / "cat" / "one.mp4", seed=1)
    make_clip(folder / "my videos" / "dog" / "two.mp4", seed=2)
    (folder / "my videos" / "dog" / "broken.mp4").write_text("<html>")
    shown = user.run("avstore build 'my videos' --labels folders --store 'the store'")
    assert "3 wanted = 2 stored" in shown
    assert "  avstore sql " in shown
    shown = user.run("avstore build 'my videos' --labels folders --name few --store one --limit 1")
    assert "1 shard (" in shown
    videos, rows = (shlex.quote(str(path)) for path in (corpus / "videos", corpus / "vggsound.csv"))
    build = f"avstore build vggsound --source {videos} --annotations {rows} --store 'the store'"
    shown = user.run(f"{build} --limit 3 --shard-clips 2")
    assert "--stream vggsound" in shown  # vggsound-8 has no clips for most tasks
    assert "annotation_errors" in shown
    store = "--store 'the store'"
    for words in ("status", "verify", "index", "snapshot create first", "snapshot list", "gc"):
        user.run(f"avstore {words} {store}")
    user.run(f"avstore tasks check vggsound-8 {store}", codes=(0, 1))
    user.run(f"avstore stats vggsound {store}")
    user.run(f"avstore exchange describe my_videos {store}")
    for words in ("", "--stream vggsound-8", "--stream nope"):
        command = "python -m avstore.train.run --shards 'the store'"
        user.run(f"{command} {words}", codes=(2,)) if words else user.train(command)
    first = next((folder / "the store" / "shards" / "vggsound").rglob("*.tar"))
    first.write_bytes(first.read_bytes()[:-1])
    user.run(f"avstore verify {store}", codes=(1,))
    assert "avstore match vggsound" in user.run(build, codes=(0, 2))
    stage = first.parent.name
    user.run(f"avstore drop vggsound {stage} {store}")


@pytest.mark.slow
def test_errors_name_commands_that_run(tmp_path: Path, corpus: Path) -> None:
    user = shell(tmp_path, os.defpath, corpus)  # avstore is not on the PATH
    avstore = shlex.quote(str(BIN / "avstore"))
    make_clip(tmp_path / "clips" / "a.mp4")
    user.run(f"{avstore} build clips")
    (tmp_path / "data" / "manifest.duckdb").unlink()
    assert "index --store data" in user.run(f"{avstore} sql 'FROM account'", codes=(2,))
    user.run(f"{avstore} sql 'FROM account'")
    shown = user.run(f"{avstore} features build", codes=(2,))
    assert printed(shown)


def test_quoting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = commands.avstore("sql", "SELECT 'a'", store=tmp_path / "my data")
    assert shlex.split(line)[1:] == ["sql", "SELECT 'a'", "--store", "my data"]
    assert commands.short_path("s3://bucket/a b") == "s3://bucket/a b"
    assert commands.short_path(tmp_path / "-x") == "./-x"
    assert commands.short_path("/usr/bin") == "/usr/bin"
    monkeypatch.setenv("PATH", "/nowhere")
    assert shlex.split(commands.avstore("status"))[0] == str(BIN / "avstore")
    monkeypatch.setenv("PATH", str(BIN))
    assert commands.avstore("status") == "avstore status"
    monkeypatch.setenv(commands.BY_MAKE, "1")
    line = commands.build("ave", tmp_path / "a $b", "/v/x y")
    assert line == "make ave-shards SOURCE='/v/x y' STORE='a $$b'"


def test_the_current_directory_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert commands.short_path("data") == "data"
