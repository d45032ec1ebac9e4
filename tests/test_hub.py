"""torch.hub from files of this machine: no test reaches the network."""

from __future__ import annotations

import hashlib

import pytest

import funtorch
from funtorch import hub

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


@pytest.fixture
def folder(tmp_path):
    before = list(hub._chosen)
    hub.set_dir(tmp_path / "hub")
    yield tmp_path
    hub._chosen[:] = before


def test_folders(monkeypatch, tmp_path) -> None:
    from torch import hub as theirs

    for name, value in (("TORCH_HOME", str(tmp_path)), ("XDG_CACHE_HOME", str(tmp_path / "x"))):
        monkeypatch.setenv(name, value)
        assert hub.get_dir() == theirs.get_dir()
        monkeypatch.delenv("TORCH_HOME", raising=False)
        assert hub.get_dir() == theirs.get_dir()


def test_state_dict_from_url(folder, capsys) -> None:
    weights = {"w": torch.arange(3.0)}
    torch.save(weights, folder / "plain.pth")
    digest = hashlib.sha256((folder / "plain.pth").read_bytes()).hexdigest()
    named = folder / f"net-{digest[:8]}.pth"
    (folder / "plain.pth").rename(named)
    made = hub.load_state_dict_from_url(named.as_uri(), check_hash=True, progress=False)
    assert made["w"].tolist() == [0.0, 1.0, 2.0]
    assert (folder / "hub" / "checkpoints" / named.name).is_file()
    assert "Downloading" in capsys.readouterr().err
    hub.load_state_dict_from_url("file:///gone/" + named.name)  # it is there already
    assert capsys.readouterr().err == ""
    with pytest.raises(RuntimeError, match="invalid hash"):
        hub.download_url_to_file(named.as_uri(), str(folder / "copy"), "0000", progress=False)
    assert not list(folder.glob("*.partial"))


def test_local_repository(folder) -> None:
    (folder / "hubconf.py").write_text(
        "dependencies = ['math']\n"
        "def net(width, bias=True):\n    '''A net.'''\n    return width, bias\n"
    )
    assert hub.load(str(folder), "net", 3, source="local", bias=False) == (3, False)
    assert hub.list(str(folder), source="local") == ["net"]
    assert hub.help(str(folder), "net", source="local") == "A net."
    with pytest.raises(RuntimeError, match="Cannot find callable"):
        hub.load(str(folder), "other", source="local")
    with pytest.raises(ValueError, match="Unknown source"):
        hub.load(str(folder), "net", source="disk")
    (folder / "hubconf.py").write_text("dependencies = ['no_such_package']\n")
    with pytest.raises(RuntimeError, match="no_such_package"):
        hub.list(str(folder), source="local")
    assert funtorch.hub is hub
