"""What does a start cost, beside the tools that people use today?

`python -m benchmarks` lays out equal histories for each tool, runs them in turns against one server and writes
`docs/benchmarks.md` and `docs/benchmarks.svg`. Nothing here is imported by the application or by the migration engine.

    histories    Which revisions does every tool get?
    places       Where do the tools, the trees and the results live?
    processes    How long did a program take, and how much memory?  (starts launcher.py)
    databases    Where do the databases come from, and who drops them?
    tools        How does each tool want its history, and how is it started?
    results      What was measured?
    measures     How is each thing measured?
    busy         What does each kind of change do to the traffic of a large table?
    machine      On what was it measured?
    tables       How does a sample look in a table?
    chart        What does the no-op cost look like, as a picture?
    report       What does docs/benchmarks.md say?

`launcher.py`, `inside.py` and `opening.py` are run as programs of their own and import nothing from here.
"""
