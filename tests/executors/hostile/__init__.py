"""The hostile battery: what a policy may try, run against every executor, and against none to see the harm.

`python -m tests.executors.hostile --write` runs all of it and writes the matrix into docs/security.md.
"""
