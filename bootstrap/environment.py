"""Makes the checkout's virtual environment; needs nothing but Python's standard library.

Run by `make .venv`. The locks are one resolution and the last holds what the others do, so packages
are installed without resolving again, with every hash checked, and only when a lock changed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
ENVIRONMENT = CHECKOUT / ".venv"
LOCKS = (CHECKOUT / "requirements.lock", CHECKOUT / "requirements-dev.lock")
STAMP = ENVIRONMENT / ".locks"
_UNREACHABLE = (
    "NewConnectionError",
    "Temporary failure",
    "timed out",
    "from versions: none",
)


def main(arguments: list[str]) -> int:
    """0 when the environment fits the locks, 1 with one line that says why not.

    `--settings FILE`: its proxies and CA bundle are used for the installation.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - any Python may have been called
        return _fail(
            f"this is Python {sys.version.split()[0]}, 3.11 or newer is needed: "
            "install it and run `make up PYTHON=python3.11`"
        )
    if (other := _python_for_all()) is not None:
        os.execv(other, [other, __file__, *arguments])  # noqa: S606 - a list, not a shell line
    wanted = _digest()
    if STAMP.exists() and STAMP.read_text() == wanted and _python().exists():
        return 0
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        version = f"python3.{sys.version_info.minor}-venv"
        return _fail(f"Python's venv module is missing: install the package {version}")
    if arguments[:1] == ["--settings"]:
        os.environ.update(_network(Path(arguments[1])))
    if not (STAMP.exists() and _python().exists()):  # a kill may have left half of one
        _say(f"environment: making .venv with Python {sys.version.split()[0]}")
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=False
        )
        if made.returncode:
            return _fail("the virtual environment could not be made: see the lines above")
    return _install(wanted)


def _install(wanted: str) -> int:
    """Install what the locks name. Nothing is replaced before everything is downloaded."""
    packages = sum(1 for lock in LOCKS for line in lock.open() if "==" in line)
    _say(f"environment: installing {packages} locked packages, hashes checked (a minute or two)")
    pip = [str(_python()), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    locks = [argument for lock in LOCKS for argument in ("-r", str(lock))]
    installed = subprocess.run(
        [*pip, "--no-deps", "--require-hashes", *locks],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if installed.returncode:
        return _fail(_explain(installed.stderr))
    linked = subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--editable", str(CHECKOUT)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if linked.returncode:
        return _fail(_explain(linked.stderr))
    STAMP.write_text(wanted)
    _say("environment: ready")
    return 0


def _explain(output: str) -> str:
    """What a person does about pip's failure; its own last lines below."""
    tail = "\n".join(f"  {line}" for line in output.strip().splitlines()[-6:])
    if "DO NOT MATCH THE HASHES" in output:
        cause = (
            "a package is not the one the lock names (wrong hash), nothing was installed: "
            "compare requirements*.lock with the repository's"
        )
    elif any(sign in output for sign in _UNREACHABLE):
        cause = (
            "the package index can't be reached or lacks a locked package: check the network, "
            "or set HTTPS_PROXY, PIP_CERT, PIP_INDEX_URL"
        )
    elif "No space left" in output:
        cause = "the disk is full: free 2 GB and run this again"
    else:
        cause = "packages could not be installed: see the last lines"
    return f"{cause}\n{tail}"


def _python_for_all() -> str | None:
    """Another interpreter to use, when root runs one that only root can enter.

    Everything the platform runs belongs to an unprivileged user, which must be able to run it.
    """
    if os.geteuid() != 0 or _open_to_all(Path(sys.executable).resolve()):
        return None
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        found = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin")
        if found and _open_to_all(Path(found).resolve()) and _is_new_enough(found):
            return found
    return None


def _open_to_all(program: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (program, *program.parents))


def _is_new_enough(python: str) -> bool:
    look = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
    return subprocess.run([python, "-c", look], capture_output=True, check=False).returncode == 0


def _network(settings: Path) -> dict[str, str]:
    """Variables for pip from a settings file; a file that is wrong is told by what reads it all.

    Of a cluster's the CA bundle is a file of pods, not of this machine.
    """
    import tomllib

    try:
        given = tomllib.loads(settings.read_text())
    except (OSError, ValueError):
        return {}
    wanted = {
        "HTTP_PROXY": "http-proxy",
        "HTTPS_PROXY": "https-proxy",
        "NO_PROXY": "no-proxy",
        **({} if "kubernetes" in given else {"PIP_CERT": "ca-bundle"}),
    }
    return {name: str(given[key]) for name, key in wanted.items() if key in given}


def _digest() -> str:
    content = b"".join(lock.read_bytes() for lock in LOCKS)
    return hashlib.sha256(content + sys.version.encode()).hexdigest()


def _python() -> Path:
    return ENVIRONMENT / "bin" / "python"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _fail(line: str) -> int:
    sys.stderr.write(f"environment: {line}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
