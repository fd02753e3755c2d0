"""The runner of the pages notices what is wrong with them."""

from pathlib import Path

import pytest

from tests.docs.run_page import Step, run_page, same, steps

PAGE = """
```
echo one
$ echo "two
three" four
two
three four
$ echo 5 \\
    6
5 6
```

```python
# mine.py
VALUE = 7
```

```python
import mine

print(mine.VALUE)
```

```text
7
```

<!-- not run: no network -->
```
false
```

<!-- numbers vary -->
```
$ echo "2.5   %"
7 %
```
"""


def test_steps_are_commands_programs_files_and_outputs() -> None:
    assert steps(PAGE) == [
        Step("shell", "echo one"),
        Step("shell", 'echo "two\nthree" four', ("two", "three four")),
        Step("shell", "echo 5 \\\n    6", ("5 6",)),
        Step("file", "# mine.py\nVALUE = 7\n"),
        Step("python", "import mine\n\nprint(mine.VALUE)\n", ("7",)),
        Step("shell", "false", None, "not run"),
        Step("shell", 'echo "2.5   %"', ("7 %",), "numbers vary"),
    ]


def test_a_page_runs(tmp_path: Path) -> None:
    assert run_page(PAGE, tmp_path, {"one": "1"}) == 6


@pytest.mark.parametrize(
    ("old", "new"), [("5 6\n```", "5 7\n```"), ("```text\n7", "```text\n8"), ("echo one", "exit 1")]
)
def test_a_wrong_page_fails(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(AssertionError):
        run_page(PAGE.replace(old, new), tmp_path)


def test_an_ellipsis_stands_for_anything() -> None:
    assert same(("a … c", "…", "d"), ["a b c ", "", "x", "y", "d"])
    assert same(("…", "d"), ["d"])
    assert not same(("a … c", "d"), ["a b c", "x", "d"])
    assert not same(("a",), ["a", "b"])
