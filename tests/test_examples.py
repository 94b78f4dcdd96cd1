"""The examples run, and do what they say."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_training_loop(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("tqdm")
    picture = tmp_path / "curve.png"
    reached, floor = load("training_loop").main(
        ["--samples", "50000", "--features", "10", "--epochs", "4", "--output", str(picture)]
    )
    # From log 2 to the loss of the model that drew the labels.
    assert abs(reached - floor) < 0.01
    assert picture.read_bytes().startswith(b"\x89PNG")
