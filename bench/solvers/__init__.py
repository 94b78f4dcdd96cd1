"""L1 solvers, ours and others', on the same problems: ``python -m bench.solvers``.

problems     data, and what is asked of it
gap          how good a model is: one function for all
peers        a class a solver
worker       the process in which a solver runs
protocol     tolerances, rounds, and who is abandoned
report, plot what is printed and drawn
"""
