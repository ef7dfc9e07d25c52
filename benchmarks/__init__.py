"""What `./run bench` measures: the hot calls beside the least that PostgreSQL could do for them, as ratios in one run.

A figure in charges a second says more about the machine than about the code, so every figure stands beside a floor
that was measured on the same server, in turns with it, and only the ratio is worth keeping.
"""
