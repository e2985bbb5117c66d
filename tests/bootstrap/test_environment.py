"""`make .venv`, on a small checkout with small locks, as a person's shell runs it."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose locks name one small package, which an index on the disk has."""
    (tmp_path / "bootstrap").mkdir()
    shutil.copy(ROOT / "bootstrap" / "environment.py", tmp_path / "bootstrap")
    (tmp_path / "index").mkdir()
    digest = wheel(tmp_path / "index", "tiny", "1.0")
    lock(tmp_path, digest)
    # Installed editable, by a backend that this environment need not download.
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "mini"\nversion = "1"\n'
    )
    (tmp_path / "backend.py").write_text(
        "import sys; sys.path.insert(0, '.')\nfrom makewheel import wheel\n"
        "from pathlib import Path\n"
        "def build_editable(folder, config_settings=None, metadata_directory=None):\n"
        "    wheel(Path(folder), 'mini', '1')\n    return 'mini-1-py3-none-any.whl'\n"
    )
    source = Path(__file__).read_text()
    start = source.index("\ndef wheel(") + 1
    (tmp_path / "makewheel.py").write_text(
        "import base64, hashlib, zipfile\nfrom pathlib import Path\n"
        + source[start : source.index("\n\n\ndef ", start)]
    )
    return tmp_path


def wheel(folder: Path, name: str, version: str) -> str:
    """A wheel with one module; its SHA-256."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": b"",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
            digest = (
                base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            )
            record += f"{file},sha256={digest},{len(content)}\n"
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lock(checkout: Path, digest: str, version: str = "1.0") -> None:
    text = f"tiny=={version} --hash=sha256:{digest}\n"
    (checkout / "requirements.lock").write_text(text)
    (checkout / "requirements-dev.lock").write_text(text)


def make(checkout: Path, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(checkout / "index")}
    return subprocess.run(
        [sys.executable, str(checkout / "bootstrap" / "environment.py"), *words],
        env={**kept, **offline, **environ},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def installed(checkout: Path) -> list[str]:
    return sorted(path.name for path in checkout.glob(".venv/lib/python3*/site-packages/tiny-*"))


def test_the_environment_is_made_once_and_anew_only_for_another_lock(checkout: Path) -> None:
    first = make(checkout)
    assert first.returncode == 0, first.stderr
    assert "installing 2 locked packages" in first.stdout
    assert installed(checkout) == ["tiny-1.0.dist-info"]
    again = make(checkout)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")

    lock(checkout, "0" * 64, "2.0")
    wheel(checkout / "index", "tiny", "2.0")
    wrong = make(checkout)
    assert wrong.returncode == 1
    assert "wrong hash" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert installed(checkout) == ["tiny-1.0.dist-info"]

    lock(checkout, wheel(checkout / "index", "tiny", "2.0"), "2.0")
    assert make(checkout).returncode == 0
    assert installed(checkout) == ["tiny-2.0.dist-info"]


def test_an_index_that_can_not_be_reached_is_one_sentence(checkout: Path) -> None:
    (checkout / "settings.toml").write_text('https-proxy = "http://127.0.0.1:9"\n')
    closed = {
        "PIP_NO_INDEX": "0",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
        "PIP_FIND_LINKS": "",
    }
    done = make(checkout, "--settings", str(checkout / "settings.toml"), **closed)
    assert done.returncode == 1
    assert "the package index can't be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_python_without_venv_is_told_which_package_is_missing(checkout: Path) -> None:
    hidden = checkout / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import sys\n\n\nclass Hide:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'ensurepip':\n            raise ModuleNotFoundError(name)\n\n\n"
        "sys.modules['ensurepip'] = None\n"
    )
    done = make(checkout, PYTHONPATH=str(hidden))
    assert done.returncode == 1
    assert f"install the package python3.{sys.version_info.minor}-venv" in done.stderr
    assert not (checkout / ".venv").exists()
