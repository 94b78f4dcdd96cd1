"""The command line: what a newcomer runs first."""

import subprocess
import sys

import pytest

from fastloss.cli import main


def test_info_tells_the_configuration(capsys):
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    for word in ("fastloss", "compiler", "instruction sets", "in use", "threads"):
        assert word in printed


def test_demo_agrees_with_everything(capsys):
    pytest.importorskip("sklearn")
    assert main(["demo", "--samples", "20000"]) == 0
    printed = capsys.readouterr().out
    # Every figure of the worked examples, as NUMERICS.md has them.
    for figure in ("19100.0,", "138.2027", "94.2%", "19100.0242", "19100.028\n", "0.8438824087283944"):
        assert figure in printed
    for figure in ("0.105361", "0.051293", "2.302585", "0.916291", "4.605170", "0.693147"):
        assert figure in printed
    assert "Everything agrees" in printed
    assert "DISAGREE" not in printed


def test_demo_names_the_extra_where_scikit_learn_is_missing(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert main(["demo"]) == 1
    assert "fastloss[sklearn]" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["demo", "--samples", "0"], ["demo", "--samples", "many"]])
def test_wrong_arguments_exit_with_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "fastloss", "info"], capture_output=True, text=True, check=True)
    assert "instruction sets" in done.stdout
