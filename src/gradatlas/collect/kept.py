"""Whether a shard that is there stays, as one that another process has finished meanwhile.

It decides that a file stays and never what is in one, so that no result depends on this code.
"""

from pathlib import Path

from gradatlas.archive.read import read_archive
from gradatlas.archive.verify import verify
from gradatlas.core.errors import InputError
from gradatlas.core.files import digest_path, has_digest, seal
from gradatlas.core.settings import TrialRange, TrialSettings


def is_kept(target: Path, settings: TrialSettings, trials: TrialRange) -> bool:
    """Whether the shard is there, all of it undamaged; a missing digest is written beside it.

    Args:
        target: Where it belongs.
        settings: The record of the trials that are wanted.
        trials: Which of them.

    Raises:
        OSError: The digest cannot be written.
    """
    if not has_digest(target):
        digest_path(target).unlink(missing_ok=True)  # cut short: the chunks' checksums tell
    try:
        [present] = read_archive(target).sources
    except (InputError, OSError):
        return False
    if (present.settings, present.trials) != (settings, trials):
        return False
    if any(finding.is_damage for finding in verify(target)):
        return False
    if not has_digest(target):
        seal(target)
    for path in (target, digest_path(target)):
        path.touch()  # Snakemake wants what a job leaves to be newer than what it read
    return True
