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


# What the snippets of docs/interop.md speak of, and what to do with what they made: the last line printed.
PRELUDE = """
import numpy as np
import fastloss as fl
X = np.random.default_rng(0).standard_normal((300, 5))
y, huber = X[:, 0] + 0.1, fl.Huber(0.5)
"""
SNIPPETS = {
    "xgboost": (
        "import xgboost as xgb",
        "import xgboost as xgb; data = xgb.DMatrix(X, y)",
        "print(model.fit(X, y).n_features_in_, booster.num_boosted_rounds())",
        "5 100",
    ),
    "lightgbm": (
        "import lightgbm as lgb",
        "import lightgbm as lgb; data = lgb.Dataset(X, y)",
        "print(model.fit(X, y).n_features_in_, booster.num_trees())",
        "5 100",
    ),
    "torch": (
        "criterion|head = ",
        "import torch; X, y, hidden = torch.randn(9, 5), torch.rand(9, 1), torch.randn(9, 512)\n"
        "model, tokens = torch.nn.Linear(5, 1), torch.arange(9)",
        "loss.backward(); print(list(head.logits(hidden).shape), model.weight.grad is not None)",
        "[9, 32000] True",
    ),
    "sklearn": ("import sklearn_loss", "", "print(model.fit(X, y).predict(X).shape)", "(300,)"),
}


@pytest.mark.parametrize("library", SNIPPETS)
def test_the_page_on_other_libraries(python, library):
    pytest.importorskip(library, reason=f"{library} is not installed")
    sign, before, after, printed = SNIPPETS[library]
    page = (ROOT / "docs" / "interop.md").read_text()
    code = [block for block in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if re.search(sign, block)]
    assert code
    lines = python("\n".join([PRELUDE, before, *code, after]), timeout=120).splitlines()
    assert lines[-1] == printed
