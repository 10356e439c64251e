import gzip
import hashlib
import os
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from plasticity.companion import datasets, hub, paths, readers

WIKI = ["", " = One = ", " first line ", " = = Part = = ", " = Two = ", " second line "]


def write_parquet(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes(), mtime=0))


def fabricate(folder):
    """Write small datasets, and return the manifest's files of each."""
    words = [f"story {i}" for i in range(100)]
    write_parquet(folder / "tales/train.parquet", text=words)
    write_parquet(folder / "tales/validation.parquet", text=["held out"] * 7)
    write_parquet(folder / "made/train.parquet", text=[f"made {i}" for i in range(40)])
    write_parquet(folder / "made/validation.parquet", text=["made up"] * 3)
    for split in ("validation", "test"):
        write_parquet(folder / f"wiki/{split}.parquet", text=WIKI)
    write_parquet(folder / "books/train.parquet", text=["a", "b", "c"], book=["two", "one", "two"])
    write_parquet(folder / "books/test.parquet", text=["d"], book=["one"])
    (folder / "lines").mkdir()
    (folder / "lines/train.txt").write_text("one\ntwo\n", encoding="utf-8")
    for name, count in (("train", 20), ("t10k", 6)):
        images = np.arange(count * 784, dtype=np.uint32).astype(np.uint8).reshape(count, 28, 28)
        write_idx(folder / f"digits/{name}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"digits/{name}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8))
    return {
        dataset.name: {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(dataset.iterdir())
        }
        for dataset in folder.iterdir()
    }


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A registry of small datasets, a data folder that holds them, and no network."""
    files = fabricate(tmp_path / "data")
    text = {"licence": "free", "citation": "nobody", "text": "text", "columns": ["text"]}
    cut = {"train": "train[:90%]", "validation": "train[90%:]", "test": "validation"}
    plain = {"train": "train", "validation": "validation", "test": "test"}
    entries = {
        "joined": {**text, "title": "Joined", "parts": ["tales", "made"]},
        "tales": {**text, "title": "Tales", "document": "row", "splits": cut},
        "made": {
            **text, "title": "Made", "document": "row", "splits": cut, "shuffle": 0,
            "sample": True, "note": "The sampled stories are machine-written.",
        },
        "wiki": {**text, "title": "Wiki", "document": "heading", "splits": plain},
        "books": {
            **text, "title": "Books", "columns": ["text", "book"], "document": "book",
            "splits": plain,
        },
        "lines": {**text, "title": "Lines", "document": "row", "splits": plain},
        "digits": {
            "title": "Digits", "licence": "free", "citation": "nobody",
            "columns": ["image", "label"], "shuffle": 0,
            "splits": {"train": "train[:15]", "validation": "train[15:]", "test": "t10k"},
        },
    }  # fmt: skip
    for name, entry in entries.items():
        if name in files:
            entry["files"] = files[name]
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")
    monkeypatch.setattr(paths, "MANIFEST", manifest)
    monkeypatch.setattr(paths, "ROOT", tmp_path / "project")
    monkeypatch.setattr(paths, "SAMPLES", tmp_path / "samples")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PLASTICITY_DATA", str(tmp_path / "data"))
    return tmp_path


def texts(split):
    return split["text"][:]


def test_the_split_rule_is_applied_and_recorded(world):
    loaded = datasets.load("tales")
    assert {split: len(rows) for split, rows in loaded.items()} == {
        "train": 90,
        "validation": 10,
        "test": 7,
    }
    assert texts(loaded["validation"]) == [f"story {i}" for i in range(90, 100)]
    assert loaded["validation"]["document"][:] == list(range(90, 100))
    about = datasets.provenance("tales")
    assert about["source"] == "folder" and about["path"] == "tales"
    assert about["splits"]["train"] == "train[:90%]"
    assert about["sha256"] == datasets.fingerprint("tales")


def test_a_seeded_cut_is_deterministic_disjoint_and_complete(world):
    first, second = datasets.load("made"), datasets.load("made")
    assert texts(first["train"]) == texts(second["train"])
    train, validation = set(texts(first["train"])), set(texts(first["validation"]))
    assert not train & validation
    assert train | validation == {f"made {i}" for i in range(40)}
    assert validation != {f"made {i}" for i in range(36, 40)}
    assert "seed 0" in datasets.provenance("made")["splits"]["validation"]


def test_a_split_that_no_file_offers_is_left_out(world):
    assert list(datasets.load("wiki")) == ["validation", "test"]
    assert "train" not in datasets.provenance("wiki")["splits"]


def test_document_ids(world):
    assert datasets.load("wiki")["test"]["document"][:] == [0, 1, 1, 1, 2, 2]
    books = datasets.load("books")
    assert books["train"]["document"][:] == [1, 0, 1]
    assert books["test"]["document"][:] == [0]


def test_text_files_give_a_row_per_line(world):
    assert texts(datasets.load("lines")["train"]) == ["one", "two"]


def test_idx_images_are_uint8_arrays(world):
    loaded = datasets.load("digits")
    whole = {split: rows[:] for split, rows in loaded.items()}
    assert whole["test"]["image"].shape == (6, 28, 28)
    assert whole["test"]["image"].dtype == whole["test"]["label"].dtype == np.uint8
    assert whole["test"]["image"].ravel()[:300].tolist() == [i % 256 for i in range(300)]
    labels = [*whole["train"]["label"], *whole["validation"]["label"]]
    assert sorted(labels) == list(range(20))
    for image, label in zip(whole["train"]["image"], whole["train"]["label"], strict=True):
        assert image[0, 0] == int(label) * 784 % 256


def test_a_missing_dataset_names_the_three_ways(world, monkeypatch):
    monkeypatch.delenv("PLASTICITY_DATA")
    with pytest.raises(datasets.DatasetUnavailable) as caught:
        datasets.load("tales")
    for way in ("PLASTICITY_DATA", "data/raw", "Hugging Face Hub", "package or shipped sample"):
        assert way in str(caught.value)
    assert str(world) not in str(caught.value)
    assert not datasets.available("tales")
    listed = datasets.status().set_index("dataset")
    assert listed.loc["tales", "source"] == "not reachable"


def test_an_unknown_dataset_lists_the_known_ones(world):
    with pytest.raises(ValueError, match=r"unknown dataset 'tale'.*joined, tales, made"):
        datasets.load("tale")


@pytest.mark.parametrize("harm", ["truncated", "altered", "missing"])
def test_a_harmed_file_is_named_with_its_sums_and_the_fix(world, harm):
    file = world / "data/tales/train.parquet"
    content = file.read_bytes()
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-10] if harm == "truncated" else content[:-1] + b"x")
    with pytest.raises(datasets.DatasetAltered) as caught:
        datasets.load("tales")
    error = caught.value
    assert error.file == file and len(error.expected) == 64 and error.got != error.expected
    assert error.fix in str(error) and str(file) in str(error)
    with pytest.raises(datasets.DatasetAltered):
        datasets.available("tales")


def test_data_raw_is_searched_after_plasticity_data(world, monkeypatch):
    raw = world / "project/data/raw"
    raw.parent.mkdir(parents=True)
    (world / "data").rename(raw)
    assert datasets.provenance("tales")["source"] == "folder"
    monkeypatch.delenv("PLASTICITY_DATA")
    assert datasets.available("tales")


def test_the_sample_comes_last_and_says_so(world, monkeypatch):
    samples = world / "samples"
    samples.mkdir()
    from_folder = datasets.fingerprint("made")
    (world / "data/made").rename(samples / "made")
    about = datasets.provenance("made")
    assert about["source"] == "sample" and about["path"] == "data/samples/made"
    assert "machine-written" in about["note"]
    assert about["sha256"] == from_folder


def test_a_misspelt_data_folder_is_pointed_out(world, monkeypatch):
    (world / "samples").mkdir()
    (world / "data/made").rename(world / "samples/made")
    monkeypatch.setenv("PLASTICITY_DATA", str(world / "dota"))
    assert (
        "PLASTICITY_DATA names a folder that does not exist" in datasets.provenance("made")["note"]
    )
    with pytest.raises(datasets.DatasetUnavailable, match="names a folder that does not exist"):
        datasets.load("tales")


def test_joined_parts_record_what_was_used_and_what_is_missing(world, monkeypatch):
    both, used_both = datasets.load("joined"), datasets.fingerprint("joined")
    assert len(both["train"]) == 90 + 36 and set(both["train"]["source"]) == {"tales", "made"}
    assert texts(both["test"]) == ["held out"] * 7
    documents = both["train"]["document"][:]
    assert len(set(documents)) == len(documents)
    (world / "samples").mkdir()
    (world / "data/made").rename(world / "samples/made")
    monkeypatch.delenv("PLASTICITY_DATA")
    about = datasets.provenance("joined")
    assert about["parts"] == ["made"] and about["missing"] == ["tales"]
    assert about["source"] == "sample" and "left out: tales" in about["note"]
    assert texts(datasets.load("joined")["test"]) == ["made up"] * 3
    assert about["sha256"] != used_both


def test_joined_parts_are_unavailable_only_when_all_are(world, monkeypatch):
    monkeypatch.delenv("PLASTICITY_DATA")
    with pytest.raises(datasets.DatasetUnavailable, match=r"tales.*made"):
        datasets.load("joined")


def test_the_hub_comes_before_the_sample_and_a_broken_download_is_one_error(world, monkeypatch):
    (world / "samples").mkdir()
    (world / "data/made").rename(world / "samples/made")
    registry = yaml.safe_load(paths.MANIFEST.read_text(encoding="utf-8"))
    there = {"repository": "some/one", "revision": "a" * 40, "files": {"train": ["a.parquet"]}}
    registry["made"]["hub"] = there
    manifest = world / "with_hub.yaml"
    manifest.write_text(yaml.safe_dump(registry), encoding="utf-8")
    monkeypatch.setattr(paths, "MANIFEST", manifest)
    assert datasets.provenance("made")["source"] == "sample"  # offline, nothing cached
    monkeypatch.setattr(hub, "answer", lambda *_: "a" * 40)
    about = datasets.provenance("made")
    assert about["source"] == "hub" and about["path"] == "some/one@aaaaaaaaaaaa"
    assert list(about["splits"]) == ["train", "validation"]

    def breaks_off(*_, **__):
        raise ConnectionError("the line went dead")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", breaks_off)
    with pytest.raises(datasets.DatasetUnavailable, match=r"the line went dead.*run it again"):
        datasets.load("made")
    served = world / "samples/made/train.parquet"
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(served))
    assert len(datasets.load("made")["train"]) == 36


def test_a_stream_reads_its_first_rows_and_no_more(tmp_path, monkeypatch):
    packed = tmp_path / "lines.json.gz"
    with gzip.open(packed, "wt", encoding="utf-8") as file:
        file.writelines(f'{{"text": "line {n}", "url": "x"}}\n' for n in range(50))
    asked = []

    class Remote:
        def open(self, address, mode):
            asked.append(address)
            return packed.open(mode)

    monkeypatch.setattr("huggingface_hub.HfFileSystem", Remote)
    monkeypatch.setattr(hub, "reachable", lambda *_: True)
    monkeypatch.setattr(paths, "data_folders", list)
    entry = dict(datasets._entry("c4"))
    entry["hub"] = entry["hub"] | {"rows": {"train": 40, "validation": 5}}
    monkeypatch.setattr(datasets, "_entry", lambda _: entry)
    loaded = datasets.load("c4")
    assert {split: len(rows) for split, rows in loaded.items()} == {
        "train": 39, "validation": 1, "test": 5
    }  # fmt: skip
    assert loaded["test"]["text"][4] == "line 4" and "url" not in loaded["test"].column_names
    assert asked[0].startswith(f"datasets/allenai/c4@{entry['hub']['revision']}/en/c4-train.0")
    assert "stream" in datasets.provenance("c4")["note"]
    monkeypatch.setattr(Remote, "open", lambda *_: (_ for _ in ()).throw(OSError("gone")))
    with pytest.raises(datasets.DatasetUnavailable, match=r"gone.*run it again"):
        datasets.load("c4")


def test_a_silent_hub_is_not_waited_for(monkeypatch):
    released = threading.Event()

    def silent(*_, **__):
        released.wait()
        raise OSError("nobody there")

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", silent)
    monkeypatch.setattr(hub, "LOOKUP_SECONDS", 0.1)
    assert hub.answer("no/body", "nothing") is None
    released.set()


def test_a_branch_of_the_hub_stands_for_its_commit_of_the_day(tmp_path, monkeypatch):
    stored = tmp_path / "0000.parquet"
    pq.write_table(pa.table({"text": [f"sentence {n}" for n in range(300)]}), stored)
    asked, today = [], ["b" * 40]

    class Remote:
        def open(self, address, mode):
            asked.append(address)
            return stored.open(mode)

    monkeypatch.setattr("huggingface_hub.HfFileSystem", Remote)
    monkeypatch.setattr(hub, "answer", lambda *_: today[0])
    monkeypatch.setattr(paths, "data_folders", list)
    entry = dict(datasets._entry("bookcorpus"))
    entry["hub"] = entry["hub"] | {"rows": {"train": 200}}
    monkeypatch.setattr(datasets, "_entry", lambda _: entry)
    loaded = datasets.load("bookcorpus")
    assert [len(loaded[split]) for split in ("train", "validation", "test")] == [196, 2, 2]
    assert loaded["test"]["text"][:] == ["sentence 198", "sentence 199"]
    assert asked == [f"datasets/bookcorpus/bookcorpus@{'b' * 40}/plain_text/train/0000.parquet"]
    first = datasets.provenance("bookcorpus")
    assert first["path"].endswith("@bbbbbbbbbbbb")
    today[0] = "c" * 40
    assert datasets.provenance("bookcorpus")["sha256"] != first["sha256"]
    today[0] = None  # offline: the commit is read from the cache
    snapshot = tmp_path / "snapshots" / ("d" * 40) / "plain_text/train/0000.parquet"
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: str(snapshot))
    assert datasets.provenance("bookcorpus")["path"].endswith("@dddddddddddd")


def test_fingerprints_read_no_file_twice(monkeypatch):
    first = datasets.fingerprint("stories_sampled")

    def read_again(*_):
        raise AssertionError("a file was read again")

    monkeypatch.setattr("hashlib.file_digest", read_again)
    assert datasets.fingerprint("stories_sampled") == first


def test_hub_images_are_decoded():
    image = pytest.importorskip("PIL.Image")
    import io

    digit = np.arange(784, dtype=np.uint32).astype(np.uint8).reshape(28, 28)
    buffer = io.BytesIO()
    image.fromarray(digit).save(buffer, format="PNG")
    table = pa.table({"image": [{"bytes": buffer.getvalue(), "path": "x.png"}], "label": [3]})
    decoded = readers._decoded(table)
    assert np.array_equal(decoded.column("image").combine_chunks().to_numpy()[0], digit)


# ---------------------------------------------------------------- the registry itself


def test_every_entry_is_complete():
    for name in datasets.names():
        entry = datasets._entry(name)
        assert entry["title"] and entry["licence"] and entry["citation"], name
        if "parts" not in entry:
            assert entry["columns"] and entry["splits"] and ("files" in entry or "hub" in entry)
            assert all(len(digest) == 64 for digest in entry.get("files", {}).values()), name
        if "hub" in entry:
            revision = entry["hub"]["revision"]
            assert hub.COMMIT.fullmatch(revision) or name == "bookcorpus", name


def test_without_data_the_shipped_stories_and_the_packaged_digits_remain(monkeypatch):
    monkeypatch.setattr(paths, "data_folders", lambda: [Path("nowhere")])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub, "cached", lambda *_: False)
    stories, digits = datasets.provenance("stories"), datasets.provenance("mnist")
    assert stories["source"] == "sample" and stories["missing"] == ["tinystories"]
    assert "machine-written" in stories["note"]
    assert digits["source"] == "package" and "5,000 of the 70,000" in digits["note"]
    loaded = datasets.load("mnist")
    assert [len(loaded[split]) for split in ("train", "validation", "test")] == [4000, 500, 500]
    labels = np.concatenate([loaded[split][:]["label"] for split in loaded])
    assert np.bincount(labels).tolist() == [500] * 10
    assert set(loaded["train"][:]["image"].ravel()[:10000]) != {0}


def test_real_data_matches_the_manifest(monkeypatch):
    folder = Path(os.environ.get("PLASTICITY_DATA") or paths.SAMPLES)
    monkeypatch.setenv("PLASTICITY_DATA", str(folder))
    for name in datasets.names():
        entry = datasets._entry(name)
        if (folder / name).is_dir() and "files" in entry:
            loaded = datasets.load(name)
            assert datasets.provenance(name)["source"] == "folder"
            assert set(loaded) == set(datasets.provenance(name)["splits"])
            assert all(len(rows) for rows in loaded.values())
            expected = [*entry["columns"], *(["document"] if "document" in entry else [])]
            assert loaded["test"].column_names == expected
