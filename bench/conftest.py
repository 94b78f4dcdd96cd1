"""Options of the suite, and the machine's description in its JSON."""

from __future__ import annotations

from bench import machine


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="small arrays and few rounds: does everything still run?")


def pytest_configure(config):
    # pytest-benchmark reads its options after this hook.
    if config.getoption("quick"):
        config.option.benchmark_min_rounds = 3
        config.option.benchmark_max_time = 0.005
        config.option.benchmark_quiet = True


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info.update(machine.describe())
