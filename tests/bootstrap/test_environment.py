"""`make .venv`, on a small checkout with small locks, as a person's shell runs it."""

import base64
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from threading import Thread
from unittest.mock import patch

import pytest

from bootstrap import environment

ROOT = Path(__file__).resolve().parent.parent.parent
# Installed editable, by a backend that this environment need not download.
_PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "mini"
version = "1"
"""
_BACKEND = """\
import shutil
def build_editable(folder, config_settings=None, metadata_directory=None):
    return shutil.copy("index/mini-1-py3-none-any.whl", folder).rpartition("/")[2]
"""


def wheel(folder: Path, name: str, version: str) -> str:
    """A wheel with one module; its SHA-256."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n".encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record += f"{file},sha256={digest.decode()},{len(content)}\n"
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lock(checkout: Path, digest: str, version: str = "1.0") -> None:
    text = f"tiny=={version} --hash=sha256:{digest}\n"
    (checkout / "requirements.lock").write_text(text)
    (checkout / "requirements-dev.lock").write_text(text)


def as_a_person(checkout: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """What the Makefile does, from elsewhere."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, str(checkout / "bootstrap" / "environment.py")],
        env={**kept, **_offline(checkout), **environ},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def make(checkout: Path, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """The same in this process, which is faster and measured."""
    places = {
        "CHECKOUT": checkout,
        "ENVIRONMENT": checkout / ".venv",
        "LOCKS": (checkout / "requirements.lock", checkout / "requirements-dev.lock"),
        "STAMP": checkout / ".venv" / ".locks",
    }
    with (
        redirect_stdout(StringIO()) as out,
        redirect_stderr(StringIO()) as err,
        patch.multiple(environment, **places),
        patch.dict(os.environ, {**_offline(checkout), **environ}),
    ):
        code = environment.main([*words])
    return subprocess.CompletedProcess([], code, out.getvalue(), err.getvalue())


def _offline(checkout: Path) -> dict[str, str]:
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(checkout / "index")}


def installed(checkout: Path) -> dict[str, int]:
    """What the environment holds besides what every environment has, and when it was written."""
    return {
        path.name: path.stat().st_mtime_ns
        for name in ("tiny", "mini")
        for path in checkout.glob(f".venv/lib/python3*/site-packages/{name}-*")
    }


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout whose locks name one small package, which an index on the disk has."""
    (tmp_path / "bootstrap").mkdir()
    shutil.copy(ROOT / "bootstrap" / "environment.py", tmp_path / "bootstrap")
    (tmp_path / "index").mkdir()
    wheel(tmp_path / "index", "mini", "1")
    lock(tmp_path, wheel(tmp_path / "index", "tiny", "1.0"))
    (tmp_path / "pyproject.toml").write_text(_PROJECT)
    (tmp_path / "backend.py").write_text(_BACKEND)
    return tmp_path


_made: list[Path] = []


@pytest.fixture
def checkout(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its environment, which is made once for all tests and then copied.

    It is made where a kill left half of one, which costs no more than making it from nothing.
    """
    if not _made:
        first = tmp_path_factory.mktemp("made") / "checkout"
        shutil.copytree(bare, first)
        half = [sys.executable, "-m", "venv", "--without-pip", str(first / ".venv")]
        subprocess.run(half, check=True)  # as a kill leaves it that comes before pip is there
        (first / ".venv" / "left-over").touch()
        done = make(first)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            f"environment: making .venv with Python {sys.version.split()[0]}",
            "environment: installing 2 locked packages, hashes checked (a minute or two)",
            "environment: ready",
        ]
        _made.append(first)
    shutil.copytree(_made[0] / ".venv", bare / ".venv", symlinks=True)
    return bare


def test_an_environment_that_fits_its_locks_is_left_alone(checkout: Path) -> None:
    before = installed(checkout)
    assert before.keys() == {"tiny-1.0.dist-info", "mini-1.dist-info"}
    closed = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_NO_INDEX": "0", "PIP_FIND_LINKS": ""}
    for run in (make, as_a_person):
        again = run(checkout, **closed)
        assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert installed(checkout) == before


def test_a_change_of_the_second_lock_alone_is_installed(checkout: Path) -> None:
    digest = wheel(checkout / "index", "more", "1")
    with (checkout / "requirements-dev.lock").open("a") as file:
        file.write(f"more==1 --hash=sha256:{digest}\n")
    done = make(checkout)
    assert done.returncode == 0, done.stderr
    assert "making .venv" not in done.stdout
    assert list(checkout.glob(".venv/lib/python3*/site-packages/more.py"))
    assert make(checkout).stdout == ""


def test_a_wrong_hash_names_the_package_and_leaves_the_old_environment(checkout: Path) -> None:
    before, stamp = installed(checkout), (checkout / ".venv" / ".locks").read_text()
    wheel(checkout / "index", "tiny", "2.0")
    lock(checkout, "0" * 64, "2.0")
    wrong = make(checkout)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("environment: a package is not the one the lock names (wrong")
    assert "tiny==2.0" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert installed(checkout) == before
    assert (checkout / ".venv" / ".locks").read_text() == stamp, "it is not taken for done"

    lock(checkout, wheel(checkout / "index", "tiny", "2.0"), "2.0")
    assert make(checkout).returncode == 0
    assert installed(checkout).keys() == {"tiny-2.0.dist-info", "mini-1.dist-info"}


def test_an_index_that_can_not_be_reached_is_one_sentence(checkout: Path) -> None:
    before = installed(checkout)
    lock(checkout, "0" * 64, "3.0")
    closed = {
        "PIP_NO_INDEX": "0",
        "PIP_FIND_LINKS": "",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
    }
    done = make(checkout, **closed)
    assert done.returncode == 1
    first, *rest = done.stderr.splitlines()
    assert first.startswith("environment: the package index can't be reached or lacks a locked")
    assert all(line.startswith("  ") for line in rest), "what pip said is below it, indented"
    assert "Traceback" not in done.stderr
    assert installed(checkout) == before


def test_the_settings_files_proxy_is_used_for_the_installation(checkout: Path) -> None:
    lock(checkout, "0" * 64, "3.0")
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def refuse() -> None:
            taken, _ = proxy.accept()
            with taken:
                asked.append(taken.recv(1000).split(b"\r\n")[0])
                taken.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

        Thread(target=refuse, daemon=True).start()
        settings = checkout / "settings.toml"
        settings.write_text(f'https-proxy = "http://127.0.0.1:{proxy.getsockname()[1]}"\n')
        done = make(
            checkout,
            *("--settings", str(settings)),
            PIP_NO_INDEX="0",
            PIP_FIND_LINKS="",
            PIP_INDEX_URL="https://index.example/simple",
            PIP_RETRIES="0",
        )
    assert done.returncode == 1
    assert asked[0].startswith(b"CONNECT index.example:443 ")


def test_half_an_environment_that_a_kill_left_is_made_anew(checkout: Path) -> None:
    assert (_made[0] / ".venv" / "bin" / "python").exists()
    assert not (_made[0] / ".venv" / "left-over").exists()
    assert installed(checkout).keys() == {"tiny-1.0.dist-info", "mini-1.dist-info"}


def test_a_project_that_can_not_be_linked_is_told_and_not_taken_for_done(checkout: Path) -> None:
    stamp = (checkout / ".venv" / ".locks").read_text()
    with (checkout / "requirements.lock").open("a") as file:
        file.write("# another lock\n")
    (checkout / "backend.py").write_text("raise ValueError('broken')\n")
    done = make(checkout)
    assert done.returncode == 1
    assert done.stderr.startswith("environment: packages could not be installed: see the last")
    assert (checkout / ".venv" / ".locks").read_text() == stamp


def test_an_environment_that_can_not_be_made_is_told(bare: Path) -> None:
    (bare / ".venv").write_text("a file is in the way")
    done = make(bare)
    assert done.returncode == 1
    assert "the virtual environment could not be made: see the lines above" in done.stderr


def test_a_python_without_venv_is_told_which_package_is_missing(bare: Path) -> None:
    (hidden := bare / "hidden").mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")
    told = (
        "environment: Python's venv module is missing: "
        f"install the package python3.{sys.version_info.minor}-venv\n"
    )
    done = as_a_person(bare, PYTHONPATH=str(hidden))
    assert (done.returncode, done.stderr) == (1, told)
    with patch.dict(sys.modules, {"ensurepip": None}):
        done = make(bare)
    assert (done.returncode, done.stderr) == (1, told)
    assert not (bare / ".venv").exists()


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM", "wrong hash"),
        ("NewConnectionError('<pip...>')", "can't be reached"),
        ("Temporary failure in name resolution", "can't be reached"),
        ("Read timed out.", "can't be reached"),
        ("ERROR: ... (from versions: none)", "can't be reached"),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("error: something new", "see the last lines"),
    ],
)
def test_each_way_in_which_an_installation_fails_has_its_sentence(output: str, cause: str) -> None:
    first, *rest = environment._explain(f"one\ntwo\nthree\nfour\nfive\nsix\n{output}\n").split("\n")
    assert cause in first
    assert rest == [
        *(f"  {word}" for word in ("two", "three", "four", "five", "six")),
        f"  {output}",
    ]


def test_a_settings_file_gives_proxies_and_a_ca_bundle_and_a_wrong_one_nothing(
    tmp_path: Path,
) -> None:
    (file := tmp_path / "settings.toml").write_text(
        'http-proxy = "http://p:1"\nno-proxy = "lab"\nca-bundle = "/ca.pem"\nlog-level = "INFO"\n'
    )
    assert environment._network(file) == {
        "HTTP_PROXY": "http://p:1",
        "NO_PROXY": "lab",
        "PIP_CERT": "/ca.pem",
    }
    file.write_text('ca-bundle = "/of/pods.pem"\n[kubernetes]\nregistry = "r"\n')
    assert environment._network(file) == {}
    file.write_text("http-proxy = \n")
    assert environment._network(file) == {}
    assert environment._network(tmp_path / "absent") == {}


def test_a_program_is_for_all_only_when_every_folder_above_is(tmp_path: Path) -> None:
    (program := tmp_path / "closed" / "python").parent.mkdir()
    program.touch(mode=0o755)
    folders = [folder for folder in program.parents if folder.stat().st_mode & 0o001 == 0]
    assert environment._open_to_all(Path("/bin/sh").resolve())
    assert environment._open_to_all(program) == (not folders)
    program.parent.chmod(0o700)
    assert not environment._open_to_all(program)
    assert environment._is_new_enough("/usr/bin/python3") == (sys.version_info >= (3, 11))
    assert not environment._is_new_enough("/bin/false")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs for another user")
def test_root_takes_a_python_that_the_service_user_can_run_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment._python_for_all() is None, "this one is for all"
    (hidden := tmp_path / "hidden").mkdir(mode=0o700)
    (hidden / "python").touch()
    monkeypatch.setattr(sys, "executable", str(hidden / "python"))
    other = environment._python_for_all()
    assert other is None or environment._open_to_all(Path(other).resolve())
    if environment._is_new_enough("/usr/bin/python3"):
        assert other is not None
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert environment._python_for_all() is None, "without another it goes on with this one"


def test_an_old_python_is_told(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    done = make(bare)
    assert done.returncode == 1
    assert "3.11 or newer is needed" in done.stderr
    assert "make up PYTHON=python3.11" in done.stderr
    assert not (bare / ".venv").exists()
