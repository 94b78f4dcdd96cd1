"""What tests that build the package share."""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def skip_without_tools():
    """Skip the test, with the reason, where the package cannot be built."""
    for tool, oldest in (("Cython", 3), ("pip", 21), ("setuptools", 77)):
        try:
            found = version(tool)
        except PackageNotFoundError:
            pytest.skip(f"{tool} is not installed: nothing can be built")
        if int(found.split(".")[0]) < oldest:
            pytest.skip(f"{tool} {found} is too old to build the package")
    compiler = os.environ.get("CXX") or sysconfig.get_config_var("CXX")
    if not compiler or not shutil.which(compiler.split()[0]):
        pytest.skip("no C++ compiler is known: nothing can be built")


def run(*command, cwd, **environment):
    """Run Python with the command in the folder, one instruction set built, and quickly; returns what it printed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("FASTLOSS_", "PYTEST_"))}
    # -S: without the hooks of an editable installation, which would offer its modules where the folder has none.
    ours = {"FASTLOSS_ISAS": "baseline", "FASTLOSS_QUICK": "1", "PYTHONPATH": os.pathsep.join([str(cwd), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-S", *map(str, command)],
        cwd=cwd,
        env={**clean, **ours, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def copy_sources(folder, *names):
    """Copy files and folders of the project, with their times: what is compiled already stays up to date."""
    for name in names:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
