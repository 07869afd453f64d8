"""A Slurm of one node on this machine, for as long as a test needs it."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ETC = Path("/etc/slurm")
MUNGE = Path("/run/munge/munged.pid")
PROGRAMS = ("slurmctld", "slurmd", "munged", "squeue", "sbatch")
PATIENCE = 60.0  # seconds

CONFIGURATION = """\
ClusterName=gradatlas
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
ReturnToService=2
MinJobAge=300
KillWait=5
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=6000 Gres=gpu:1 State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP
"""


def why_not() -> str:
    """Why no Slurm can be started here; empty where it can."""
    if os.geteuid() != 0:
        return "starting Slurm needs root"
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"needs Debian's slurm-wlm and munge: no {', '.join(missing)}"
    configuration = ETC / "slurm.conf"
    if configuration.exists() and not configuration.is_symlink():  # ours is a link
        return f"{ETC} configures another Slurm"
    return ""


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """Start Slurm with its state in a folder, and stop it by its own pid files.

    The node has two cores and a stand-in for a GPU. The configuration must lie in /etc/slurm, as
    the executor keeps environment variables from the jobs that could name another place.
    """
    host = socket.gethostname().partition(".")[0]
    authentication = not (MUNGE.exists() and _runs(int(MUNGE.read_text())))  # else it goes on
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "slurm.conf").write_text(CONFIGURATION.format(host=host, folder=folder))
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File=/dev/null\n")
    links = [ETC / name for name in ("slurm.conf", "gres.conf")]
    try:
        for link in links:
            link.unlink(missing_ok=True)  # of a test that was killed
            link.symlink_to(folder / link.name)
        if authentication:
            _start_munge()
        _start(folder)
        yield
    finally:
        for name in ("slurmd", "slurmctld"):
            _stop(folder / f"{name}.pid")
        if authentication:
            _stop(MUNGE)
        for link in links:
            link.unlink(missing_ok=True)


def _start_munge() -> None:
    MUNGE.parent.mkdir(exist_ok=True)
    shutil.chown(MUNGE.parent, "munge", "munge")
    _run("runuser", "-u", "munge", "--", "munged", "--force")


def _start(folder: Path) -> None:
    _run("slurmctld")
    _run("slurmd")
    deadline = time.monotonic() + PATIENCE
    while _run("sinfo", "--noheader", "--format=%T", check=False) != "idle":
        if time.monotonic() > deadline:
            raise TimeoutError((folder / "slurmctld.log").read_text())
        time.sleep(0.2)


def _run(*command: str, check: bool = True) -> str:
    result = subprocess.run(
        command, env={**os.environ, "PATH": _path()}, capture_output=True, text=True, check=False
    )
    if check and result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {result.stdout}{result.stderr}")
    return result.stdout.strip()


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _stop(pid_file: Path) -> None:
    """End the process that a daemon's pid file names, and wait for its end."""
    process = int(pid_file.read_text()) if pid_file.exists() else None
    asked, deadline = False, time.monotonic() + PATIENCE
    while process is not None and _runs(process):
        with suppress(ProcessLookupError):  # it has just ended
            if time.monotonic() > deadline:
                os.kill(process, signal.SIGKILL)
            elif not asked:
                os.kill(process, signal.SIGTERM)
        asked = True
        time.sleep(0.1)


def _runs(process: int) -> bool:
    """Whether a process is there and has not ended, be it unreaped."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def jobs(*states: str) -> list[tuple[int, str]]:
    """Number and comment (rule and wildcards) of the jobs in the given states."""
    rows = _run("squeue", "--noheader", f"--states={','.join(states)}", "--format=%A|%k")
    pairs = (row.split("|", 1) for row in rows.splitlines())
    return [(int(number), comment) for number, comment in pairs]


def generic_resources(job: int) -> str:
    """What a job asks for beside cores and memory, such as ``gres:gpu:1``."""
    return _run("squeue", "--noheader", f"--job={job}", "--Format=tres-per-job")


def cancel(job: int) -> None:
    """Cancel a job, as a user would."""
    _run("scancel", str(job))


def halt_for_a_minute(job: int) -> None:
    """Stop the processes of a job where they are, and give it a minute until its time is up."""
    _run("scancel", "--signal=STOP", "--full", str(job))
    _run("scontrol", "update", f"JobId={job}", "TimeLimit=1")
