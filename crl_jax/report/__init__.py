"""Reports of run folders.

`page.py` makes tables and one HTML page, `figures.py` the pictures. `stats.py` holds statistics over seeds and tasks,
`scores.py` the continual-learning scores of a sequence of tasks.
"""

from crl_jax.report.page import aggregate, group_table, interval, summary, table, told, write_report

__all__ = ["aggregate", "group_table", "interval", "summary", "table", "told", "write_report"]
