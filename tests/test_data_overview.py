import pandas as pd
import pytest
from matplotlib import pyplot as plt

from plasticity.companion import datasets as data
from plasticity.companion import paths
from plasticity.companion.configuration import Runtime
from plasticity.experiments import data_overview
from plasticity.plots import data as plots

SMALL = {"variant": "stories_sampled", "rows": 100, "vocab_size": 1000}


def measure(seed=0, **changes):
    config = data_overview.Config(**{**SMALL, **changes})
    return data_overview.run(config, seed, None, Runtime())


@pytest.fixture(scope="module")
def rows():
    both = [measure(variant=name).assign(variant=name) for name in ("stories_sampled", "mnist")]
    return pd.concat(both, ignore_index=True)


def value(rows, metric, split="train", step=0):
    (found,) = rows.query("metric == @metric and split == @split and step == @step")["value"]
    return found


def test_counts_agree_with_the_dataset(rows):
    stories = rows[rows["variant"] == "stories_sampled"]
    loaded = data.load("stories_sampled")["validation"]
    assert value(stories, "rows", "validation") == len(loaded)
    assert value(stories, "characters", "validation") == sum(map(len, loaded["text"]))
    assert value(stories, "lines_measured") == 100
    assert value(stories, "vocabulary", "all") <= 1000


def test_shares_are_percent_and_curves_rise(rows):
    shares = rows[rows["unit"] == "percent"]["value"]
    assert shares.between(0, 100).all()
    stories = rows[(rows["variant"] == "stories_sampled") & (rows["split"] == "test")]
    assert stories[stories["metric"] == "pieces_per_line"]["value"].is_monotonic_increasing
    assert stories[stories["metric"] == "word_share"]["value"].is_monotonic_decreasing
    assert value(stories, "masked_share", "test") == pytest.approx(15, abs=1.5)
    digits = rows[(rows["variant"] == "mnist") & (rows["metric"] == "label_share")]
    assert digits.groupby("split")["value"].sum().tolist() == pytest.approx([100] * 3)


def test_a_run_is_decided_by_its_seed(rows):
    stories = rows[rows["variant"] == "stories_sampled"].drop(columns="variant")
    pd.testing.assert_frame_equal(stories.reset_index(drop=True), measure())
    assert not measure(seed=1).equals(measure())


def test_longer_sequences_lose_less(rows):
    assert value(measure(max_length=64), "discarded_share") > value(rows, "discarded_share") > 0


@pytest.mark.parametrize(
    ("setting", "bad"),
    [("variant", "novels"), ("rows", -1), ("vocab_size", 5), ("mask_probability", 0.0)],
)
def test_settings_are_checked(setting, bad):
    with pytest.raises(ValueError, match=setting):
        data_overview.Config(**{**SMALL, setting: bad})


def test_an_unreachable_corpus_is_unavailable(monkeypatch):
    monkeypatch.setattr(paths, "data_folders", list)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(data.DatasetUnavailable):
        measure(variant="gutenberg_nltk")


def test_figures_have_labelled_axes(rows):
    for figure in (plots.sizes(rows), plots.lengths(rows), plots.word_frequencies(rows)):
        assert all(axes.get_xlabel() for axes in figure.axes)
        plt.close(figure)
    sample = data.load("mnist")["test"][:4]
    figure = plots.digits(sample["image"], sample["label"])
    assert [axes.get_title() for axes in figure.axes] == [str(label) for label in sample["label"]]
    plt.close(figure)


def test_figures_need_their_metric(rows):
    with pytest.raises(ValueError, match="word_share"):
        plots.word_frequencies(rows[rows["variant"] == "mnist"])
