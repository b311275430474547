"""Reports of run folders: `page.py` (tables and one HTML page), `figures.py`, `stats.py`, `scores.py`.

`stats.py` holds the statistics over seeds and tasks, `scores.py` the scores of a sequence of tasks.
"""

from crl_jax.report.page import aggregate, group_table, interval, shown, summary, table, write_report

__all__ = ["aggregate", "group_table", "interval", "shown", "summary", "table", "write_report"]
