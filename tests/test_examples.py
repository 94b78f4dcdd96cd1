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


def test_path(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    picture = tmp_path / "path.png"
    path, best = load("path").main(["--models", "30", "--output", str(picture)])
    assert path.success
    assert 0 == path.supports[0] < path.supports[best] < 30
    assert 0 < best < 29  # neither the strongest penalty nor the weakest
    lines = capsys.readouterr().out.splitlines()
    (chosen,) = [line.split() for line in lines if line.endswith("<- least")]
    assert float(chosen[4]) < 0.1
    assert float(chosen[5].rstrip("%")) > 95
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_outliers(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    picture = tmp_path / "outliers.png"
    errors = load("outliers").main(["--output", str(picture)])
    assert errors["Huber"] < 0.3 < 1 < errors["squared error"]
    assert errors["absolute error"] < 0.3
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_breast_cancer(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    picture = tmp_path / "breast_cancer.png"
    found = load("breast_cancer").main(["--output", str(picture)])
    assert all(accuracy > 0.93 and loss < 0.15 for accuracy, loss, _ in found.values())
    assert found["L1"][2] < found["L2"][2] == 30
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_sparse_grid_search():
    pytest.importorskip("sklearn")
    accuracy, used = load("sparse_grid_search").main(["--documents", "1500", "--terms", "1000"])
    assert accuracy > 0.9
    assert 10 < len(used) < 300


def test_custom_loss(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("numba", reason="Numba is not installed")
    picture = tmp_path / "custom_loss.png"
    errors = load("custom_loss").main(["--output", str(picture)])
    squared = errors.pop("squared error")
    assert max(errors.values()) < 0.5 < 1 < squared
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_boosting():
    pytest.importorskip("xgboost", reason="XGBoost is not installed")
    pytest.importorskip("lightgbm", reason="LightGBM is not installed")
    errors = load("boosting").main(["--samples", "3000", "--rounds", "60"])
    assert errors["LightGBM, our Huber"] == pytest.approx(errors["LightGBM, its Huber"], rel=1e-6)
    for library in ("XGBoost", "LightGBM"):
        squared = errors[f"{library}, its squared error"]
        assert all(error < squared / 2 for name, error in errors.items() if name.startswith(f"{library}, our"))


def test_torch_training():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    circle, words, start = load("torch_training").main(["--samples", "4000", "--classes", "300", "--epochs", "5"])
    assert circle[-1] < 0.35 < circle[0]
    assert words[-1] < start / 10
