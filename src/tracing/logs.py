"""Puts run and trace on log lines, those of third-party loggers too."""

from __future__ import annotations

import logging
from typing import TextIO

from teamwright.tracing.runs import current_run

FORMAT = "%(asctime)s %(levelname)s [run=%(run_id)s trace=%(trace_id)s] %(name)s: %(message)s"


class RunFilter(logging.Filter):
    """Sets `run_id` and `trace_id` on each record, `-` outside a run. Lets everything through.

    Add it to handlers, not loggers: a logger's filters don't see what its children log.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        run = current_run()
        record.run_id = str(run.run_id) if run else "-"
        record.trace_id = (run.trace_id if run else None) or "-"
        return True


def handler(stream: logging.StreamHandler[TextIO] | None = None) -> logging.Handler:
    """A stream handler (stderr if none is given) with the filter and our format."""
    made = stream or logging.StreamHandler()
    made.addFilter(RunFilter())
    made.setFormatter(logging.Formatter(FORMAT))
    return made
