"""The choice of the instruction set."""

import os
from pathlib import Path

import numpy as np
import pytest

import fastloss as fl
from fastloss import _runtime

PROGRAM = "from fastloss import _runtime; print(_runtime.instruction_set())"
RUNNABLE = [name for name in _runtime.compiled_instruction_sets() if _runtime.cpu_supports(name)]


@pytest.mark.parametrize("name", _runtime.INSTRUCTION_SETS)
def test_forced_by_the_environment(name, python):
    if name not in _runtime.compiled_instruction_sets():
        pytest.skip(f"this build does not contain {name}: no test of this run has tried it")
    if not _runtime.cpu_supports(name):
        pytest.skip(f"this CPU does not run {name}: no test of this run has tried it")
    assert python(PROGRAM, FASTLOSS_ISA=name) == name


@pytest.mark.parametrize("environment", [{}, {"FASTLOSS_ISA": ""}])
def test_the_default_is_the_widest(environment, python):
    assert python(PROGRAM, **environment) == RUNNABLE[-1]


@pytest.mark.parametrize("name", ["sse9", "AVX2", "avx2 "])
def test_an_unknown_name_is_refused(name, python):
    done = python(PROGRAM, FASTLOSS_ISA=name, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: FASTLOSS_ISA must be one of baseline, avx2, avx512")
    assert repr(name) in last


def test_what_the_cpu_lacks_is_refused(python):
    lacking = [name for name in _runtime.INSTRUCTION_SETS if not _runtime.cpu_supports(name)]
    if not lacking:
        pytest.skip("this CPU runs every instruction set")
    done = python(PROGRAM, FASTLOSS_ISA=lacking[0], check=False)
    assert done.returncode == 1
    assert f"RuntimeError: FASTLOSS_ISA={lacking[0]}: this CPU does not support {lacking[0]}" in done.stderr


def test_what_the_build_lacks_is_refused(python):
    # As in a build for another architecture: the module is not there.
    hide = """
        import sys
        class Hide:
            def find_spec(name, path=None, target=None):
                if name == "fastloss._isa_baseline":
                    raise ModuleNotFoundError(name)
        sys.meta_path.insert(0, Hide)
        import fastloss
    """
    done = python("if True:" + hide, FASTLOSS_ISA="baseline", check=False)
    assert done.returncode == 1
    assert "RuntimeError: FASTLOSS_ISA=baseline: this build of fastloss does not contain baseline" in done.stderr


def test_a_loss_keeps_its_kernels(case, isas):
    y, z = case.sample(100)
    for name in isas:
        _runtime.use_instruction_set(name)
        loss = case.make()
        expected = loss(y, z)
        for other in isas:
            _runtime.use_instruction_set(other)
            assert loss(y, z) == expected


def test_needs_no_import_of_others(python):
    # importlib.util is a submodule: it is there only if somebody imported it, and `site` often has.
    program = "from fastloss import _runtime; print(_runtime.compiled_instruction_sets())"
    folders = [str(Path(module.__file__).parents[1]) for module in (fl, np)]
    found = python(program, flags=["-S"], PYTHONPATH=os.pathsep.join(folders))
    assert found == repr(_runtime.compiled_instruction_sets())
