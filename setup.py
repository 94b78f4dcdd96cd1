"""Lists the compiled extensions; everything else about the build stands in pyproject.toml."""

import os
import platform
import sys
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Branch-free code only vectorises where floating-point traps and errno need not be kept. Not -ffast-math: it breaks the
# kernels' rounding and, linked, denormals in the whole process. Not -march=native: the result crashes elsewhere.
UNIX_FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-fvisibility=hidden"]
# gcc would turn two selects on one condition back into a branch and compute both sides, divisions included.
KERNEL_FLAGS = ["-fno-thread-jumps"]
MSVC_FLAGS = ["/std:c++17", "/O2", "/openmp:experimental"]

IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
IS_MAC = sys.platform == "darwin"
# Instruction set -> flags of gcc and clang, of MSVC.
INSTRUCTION_SETS = {"baseline": ([], [])}
if IS_X86:
    INSTRUCTION_SETS["avx2"] = (["-mavx2", "-mfma"], ["/arch:AVX2"])
    INSTRUCTION_SETS["avx512"] = (
        ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx2", "-mfma", "-mprefer-vector-width=512"],
        ["/arch:AVX512"],
    )

if "FASTLOSS_ISAS" in os.environ:  # build only these: for a quick trial
    INSTRUCTION_SETS = {name: INSTRUCTION_SETS[name] for name in os.environ["FASTLOSS_ISAS"].split(",")}

CYTHON_MODULES = [
    "_runtime",
    "_arrays",
    "_blocks",
    "_reduce",
    "_linear",
    "_compressed",
    "_outputs",
    "_points",
    "_gram",
    "_costs",
    "_columns",
    "_factor",
    "_conjugate_gradients",
    "_descent",
    "_bfgs",
    "_elimination",
    "_strengths",
    "_multiclass",
]


class BuildExtensions(build_ext):
    """Adds the flags that depend on the compiler, after a trial where a compiler may lack them."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()  # ten files, some of them a minute's work

    def build_extensions(self):
        msvc = self.compiler.compiler_type == "msvc"
        openmp = self.openmp_flags(msvc)
        kernel_flags = KERNEL_FLAGS if self.links("int main() {}\n", [*KERNEL_FLAGS, "-Werror"], []) else []
        sanitize = os.environ.get("FASTLOSS_SANITIZE")
        for extension in self.extensions:
            extension.extra_compile_args += MSVC_FLAGS if msvc else UNIX_FLAGS
            name = extension.name.rpartition("_isa_")[2]
            if name in INSTRUCTION_SETS:
                extension.extra_compile_args += INSTRUCTION_SETS[name][msvc] + kernel_flags
            else:
                extension.extra_compile_args += openmp[0]
                extension.extra_link_args += openmp[1]
            if os.environ.get("FASTLOSS_QUICK") and not msvc:
                extension.extra_compile_args.append("-O1")  # the last one counts
            if sanitize:
                flags = [f"-fsanitize={sanitize}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g"]
                extension.extra_compile_args += flags
                extension.extra_link_args += flags
        super().build_extensions()

    def openmp_flags(self, msvc):
        """Compile and link flags of OpenMP, or none where a trial fails: the build then runs on one thread."""
        if os.environ.get("FASTLOSS_NO_OPENMP"):
            return [], []
        candidates = [(["/openmp:experimental"], [])] if msvc else [(["-fopenmp"], ["-fopenmp"])]
        if IS_MAC:
            candidates.append((["-Xpreprocessor", "-fopenmp"], ["-lomp"]))
        for candidate in candidates:
            if self.links("#include <omp.h>\nint main() { return omp_get_max_threads() == 0; }\n", *candidate):
                return candidate
        print("fastloss: no OpenMP; building for one thread", file=sys.stderr)
        return [], []

    def links(self, source, compile_flags, link_flags):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "trial.cpp")
            path.write_text(source)
            try:
                objects = self.compiler.compile([str(path)], output_dir=folder, extra_postargs=compile_flags)
                self.compiler.link_executable(objects, str(Path(folder, "trial")), extra_postargs=link_flags)
            except Exception:  # whatever the compiler raises, the answer is no
                return False
        return True


headers = sorted(str(path) for pattern in ("simd/*.h*", "*.hpp") for path in Path("fastloss").glob(pattern))
# What Cython sees of them: a change of a loss compiles none of its modules again.
interfaces = [f"fastloss/{name}" for name in ("simd/kernel.h", "simd/matrix.hpp", "simd/table.hpp", "_cpu.hpp")]
extensions = [
    Extension(f"fastloss._isa_{name}", [f"fastloss/_isa_{name}.cpp"], depends=headers, language="c++")
    for name in INSTRUCTION_SETS
] + cythonize(
    [
        Extension(
            f"fastloss.{name}", [f"fastloss/{name}.pyx"], depends=interfaces, language="c++", include_dirs=["fastloss"]
        )
        for name in CYTHON_MODULES
    ],
    compiler_directives={
        "language_level": 3,
        "boundscheck": False,
        "wraparound": False,
        "cdivision": True,
        "initializedcheck": False,
        "embedsignature": True,
        "binding": True,
        "freethreading_compatible": True,
    },
)

setup(ext_modules=extensions, cmdclass={"build_ext": BuildExtensions})
