"""How a job of the workflow reports: what it did to its log, what went wrong in one sentence."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from gradatlas.core.errors import InputError

logger = logging.getLogger("gradatlas")


@contextmanager
def job(log: str) -> Iterator[logging.Logger]:
    """Run a job's work, with a log file of its own; an import that may fail belongs to the work.

    An error the user can mend ends the process with one sentence on the terminal and in the log;
    any other error goes on, with its traceback in the log as well.

    Args:
        log: Path of the log file.
    """
    # A job shows nothing, and what a notebook's shell sets need not be installed here.
    os.environ["MPLBACKEND"] = "agg"
    try:
        _open_log(Path(log))
        logger.info("started")
        yield logger
        logger.info("finished")
    except (InputError, OSError) as error:
        _give_up(str(error))
    except MemoryError as error:
        _give_up(f"not enough memory ({error}); use a machine with more, or fewer jobs at a time")
    except Exception:
        logger.exception("failed")
        raise


def _open_log(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=log, filemode="w", level=logging.INFO, format="%(asctime)s %(message)s"
    )
    # On a full disk the sentence still goes to the terminal; a traceback for the log would hide it.
    logging.raiseExceptions = False


def _give_up(sentence: str) -> NoReturn:
    logger.error("%s", sentence)
    sys.exit(f"error: {sentence}")
