// Makes one instruction set's table a Python module whose only content is a capsule. A module of its own for each, not
// one library with three object files: then no inline function compiled for AVX-512 can be merged into code that an
// older CPU runs, and what the CPU lacks is never even loaded.
#pragma once
#include <Python.h>

#include "simd/fill_table.hpp"

#define FASTLOSS_ISA_MODULE(name)                                                                                \
    static int exec_module(PyObject* module) {                                                                   \
        PyObject* capsule = PyCapsule_New(const_cast<fastloss::Table*>(fastloss::table()), "fastloss.table", 0); \
        if (!capsule) return -1;                                                                                 \
        const int failed = PyModule_AddObject(module, "table", capsule);                                         \
        if (failed) Py_DECREF(capsule);                                                                          \
        return failed;                                                                                           \
    }                                                                                                            \
    static PyModuleDef_Slot slots[] = {{Py_mod_exec, reinterpret_cast<void*>(exec_module)},                      \
                                       FASTLOSS_MODULE_SLOTS{0, nullptr}};                                       \
    static PyModuleDef definition = {                                                                            \
        PyModuleDef_HEAD_INIT, #name, nullptr, 0, nullptr, slots, nullptr, nullptr, nullptr};                    \
    PyMODINIT_FUNC PyInit_##name() { return PyModuleDef_Init(&definition); }

#if PY_VERSION_HEX >= 0x030D0000
#define FASTLOSS_MODULE_SLOTS \
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED}, {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#else
#define FASTLOSS_MODULE_SLOTS
#endif
