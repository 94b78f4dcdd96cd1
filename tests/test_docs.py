"""The documentation does what it says: its worked example adds a loss to a copy of the sources."""

import re
import shlex
from typing import NamedTuple

import pytest
from building import ROOT, copy_sources, run, skip_without_tools

PAGE = ROOT / "docs" / "adding_a_loss.md"
FEWEST_TESTS = 150


class Block(NamedTuple):
    """A fenced block of code with `file=` in its header, and where it goes."""

    file: str
    where: str  # before or after
    anchor: str  # how the line begins
    code: str


def blocks():
    found = []
    for header, code in re.findall(r"^```(\w+ file=.*?)\n(.*?)^```$", PAGE.read_text(), re.M | re.S):
        options = dict(word.split("=", 1) for word in shlex.split(header)[1:])
        file = options.pop("file")
        ((where, anchor),) = options.items()
        found.append(Block(file, where, anchor, code))
    return found


def insert(block, folder):
    path = folder / block.file
    lines = path.read_text().splitlines(keepends=True)
    (at,) = [i for i, line in enumerate(lines) if line.startswith(block.anchor)]
    lines.insert(at + {"before": 0, "after": 1}[block.where], block.code)
    path.write_text("".join(lines))


def test_the_example_touches_three_files():
    assert {block.file for block in blocks()} == {
        "fastloss/simd/losses.hpp",
        "fastloss/losses.py",
        "tests/reference.py",
    }


@pytest.mark.build
def test_the_example_of_adding_a_loss(tmp_path):
    skip_without_tools()
    copy_sources(tmp_path, "fastloss", "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE")
    for block in blocks():
        insert(block, tmp_path)
    for module in (tmp_path / "fastloss").glob("_isa_*.*.*"):
        module.unlink()  # only these contain the losses
    run("setup.py", "build_ext", "--build-lib", ".", cwd=tmp_path)  # --inplace would compile all, in a place of its own
    tests = [f"tests/test_{name}.py" for name in ("laws", "ulp", "objective")]
    printed = run("-m", "pytest", "-q", "-k", "LogCosh", *tests, cwd=tmp_path)
    passed = re.search(r"(\d+) passed", printed)
    assert passed, printed
    assert int(passed[1]) >= FEWEST_TESTS, printed


def test_the_page_on_losses_of_ones_own(python):
    pytest.importorskip("numba", reason="custom_loss needs Numba")
    page = (ROOT / "docs" / "custom_losses.md").read_text()
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S))
    assert python(code + "\nprint(value, wider)\n", timeout=120) == "0.34657359027997264 cauchy(scale=2.0)"
