import dataclasses
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from plasticity.companion import claims, paths, results
from plasticity.companion.claims import Claim, judge, ledger, load
from plasticity.companion.export import ABLATED, ABLATION
from plasticity.companion.metrics import metric

PER_SYSTEM = {"neural-foam": 25, "neuron-graph": 44, "plastic-neural-networks": 50}
ROW = {
    "id": "x",
    "kind": "number",
    "scale": "laptop",
    "source": "readme",
    "claim": "PNN reaches 40 percent",
    "experiment": "e",
    "metric": "accuracy",
    "variant": "pnn",
    "rule": "number",
    "tolerance": 0.05,
    "value": 40.0,
    "unit": "percent",
}
DIRECTION = {"kind": "direction", "rule": "direction", "variant": "pnn - bert", "value": None}
CHECK = {"kind": "mechanism", "rule": "check", "metric": "holds", "value": None}


def row(**changes):
    return {key: value for key, value in {**ROW, **changes}.items() if value is not None}


def claim(**changes):
    return Claim(system="s", **row(**changes))


def measured(pnn, bert=(), name="accuracy", split="test", step=0):
    """Return rows of two variants, one value a seed."""
    return pd.DataFrame(
        [
            {
                "experiment": "e",
                "variant": variant,
                "profile": "any",
                "seed": seed,
                "step": step,
                "split": split,
                "metric": name,
                "value": float(value),
                "unit": "percent",
            }
            for variant, values in (("pnn", pnn), ("bert", bert))
            for seed, value in enumerate(values)
        ]
    )


def steps(*by_step):
    return pd.concat([measured(values, step=step) for step, values in enumerate(by_step)])


def verdict(rows, level="laptop", **changes):
    return judge(claim(**changes), {level: rows}).verdict


def write(tmp_path, *rows):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"system": list(rows)}), encoding="utf-8")
    return path


# The shipped ledger


def test_every_claim_of_the_sources_is_there():
    found = load()
    assert len(found) == 119
    assert len({one.id for one in found}) == 119
    assert Counter(one.system for one in found) == PER_SYSTEM
    assert {one.id for one in found} >= {"foam-arc-easy", "sub-mnist", "pnn-relative", "pnn-steps"}
    kinds = {"number": 42, "promise": 20, "mechanism": 18, "figure": 18, "direction": 14}
    assert Counter(one.kind for one in found) == kinds | {"negative": 7}
    assert Counter(one.scale for one in found) == {"laptop": 58, "any": 41, "paper": 20}


def test_every_row_names_its_decision():
    content = yaml.safe_load(paths.CLAIMS.read_text(encoding="utf-8"))
    for one in (one for rows in content.values() for one in rows):
        assert {"experiment", "metric", "variant", "rule", "tolerance"} <= set(one), one["id"]
        assert "verdict" not in one


def test_units_agree_with_the_metrics():
    same = {
        ("PPL", "perplexity"),
        ("KB", "kilobytes"),
        ("MB", "megabytes"),
        ("GB", "gigabytes"),
        ("s", "seconds"),
        ("percent draws", "percent"),
        ("percentage points", "percent"),
    }
    for one in load():
        if one.rule in ("number", "half_width", "sequence", "arithmetic"):
            unit = metric(one.metric).unit
            assert one.unit == unit or (one.unit, unit) in same, one.id


# Verdicts


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([39, 40, 41], "reproduced"),
        ([42.9, 43, 43.1], "reproduced and exceeded"),
        ([36.9, 37, 37.1], "not reproduced"),
        ([np.nan, 40, 40], "not reproduced"),
    ],
)
def test_a_number_is_judged_by_its_interval(values, expected):
    assert verdict(measured(values)) == expected


def test_lower_is_better_where_the_metric_says_so():
    assert verdict(measured([20, 20, 20], name="loss"), metric="loss") == "reproduced and exceeded"
    assert verdict(measured([60, 60, 60], name="loss"), metric="loss") == "not reproduced"


def test_an_exact_count_is_reproduced_or_not():
    exact = {"metric": "parameters", "value": 53707323, "tolerance": 0, "deterministic": True}
    for count, expected in ((53707323, "reproduced"), (53707322, "not reproduced")):
        found = judge(claim(**exact), {"laptop": measured([count], name="parameters")})
        assert (found.verdict, found.low, found.high) == (expected, count, count)
    assert found.measured == "53,707,322 parameters"


@pytest.mark.parametrize(
    ("pnn", "bert", "expected"),
    [
        ([30, 31, 32], [20, 21, 23], "reproduced"),
        ([30, 31, 32], [29, 33, 30], "not reproduced"),
        ([20, 21, 23], [30, 31, 32], "not reproduced"),
    ],
)
def test_a_direction_needs_the_paired_interval_beyond_zero(pnn, bert, expected):
    assert verdict(measured(pnn, bert), **DIRECTION) == expected
    swapped = {**DIRECTION, "metric": "loss", "variant": "bert - pnn"}
    assert verdict(measured(pnn, bert, name="loss"), **swapped) == expected


def test_a_failed_direction_says_how():
    found = judge(claim(**DIRECTION), {"laptop": measured([20, 21, 23], [30, 31, 32])})
    assert found.reason == "the difference is on the other side"
    found = judge(claim(**DIRECTION), {"laptop": measured([30, 31, 32], [29, 33, 30])})
    assert found.reason == "the interval includes 0"
    assert found.measured.startswith("pnn - bert: 0.3333 [")
    found = judge(claim(**DIRECTION), {"laptop": measured([30, np.nan, 32], [29, 33, 30])})
    assert found.reason == "the measurement is not finite"


def test_a_check_must_hold_in_every_seed():
    assert verdict(measured([1, 1, 1], name="holds"), **CHECK) == "reproduced"
    found = judge(claim(**CHECK), {"laptop": measured([1, 0, 1], name="holds")})
    assert found.verdict == "not reproduced"
    assert found.measured == "holds: in 2 of 3 seeds"
    assert found.reason == "the seeds disagree"
    both = pd.concat([measured([1, 1, 1], name="holds", split=s) for s in ("test", "validation")])
    both.loc[both["split"] == "validation", "value"] = 0
    assert verdict(both, **CHECK) == "not reproduced"
    assert verdict(both, split="test", step=0, **CHECK) == "reproduced"


def test_a_negative_is_confirmed_or_overturned():
    negative = {**CHECK, "kind": "negative"}
    assert verdict(measured([1, 1, 1], name="holds"), **negative) == "confirmed"
    assert verdict(measured([0, 0, 0], name="holds"), **negative) == "overturned"
    assert verdict(measured([1, 0, 1], name="holds"), **negative) == "overturned"


def test_a_sequence_needs_every_value():
    series = {"kind": "figure", "rule": "sequence", "value": (5, 30), "step": (0, 1)}
    assert verdict(steps([5, 5, 5], [30, 31, 30]), **series) == "reproduced"
    assert verdict(steps([9, 9, 9], [40, 40, 40]), **series) == "reproduced and exceeded"
    found = judge(claim(**series), {"laptop": steps([5, 5, 5], [20, 20, 20])})
    assert (found.verdict, found.reason) == ("not reproduced", "1 of the 2 values differ")
    assert found.measured == "5; 20 percent"
    assert verdict(steps([5, 5, 5]), **series) == "not yet"
    along = {**series, "step": None, "split": ("easy", "hard")}
    rows = pd.concat([measured([5] * 3, split="easy"), measured([30] * 3, split="hard")])
    assert verdict(rows, **along) == "reproduced"


def test_arithmetic_finds_the_source_wrong():
    again = {"rule": "arithmetic", "scale": "any", "value": 88, "tolerance": 0.01}
    found = judge(claim(**again), {"laptop": measured([100 * 47.4 / 57.0])})
    assert (found.verdict, found.profile) == ("wrong in the source", "laptop")
    assert found.measured == "83.16 percent, from the source's own figures"
    assert found.reason == "the source says 88 percent"
    assert verdict(measured([88.2]), **again) == "reproduced"


def test_a_spread_is_compared_by_half_the_interval():
    spread = {"rule": "half_width", "value": 2.484}
    assert verdict(measured([39, 40, 41]), **spread) == "reproduced"
    assert verdict(measured([39.9, 40, 40.1]), **spread) == "reproduced and exceeded"
    assert verdict(measured([30, 40, 50]), **spread) == "not reproduced"


def test_a_stated_reason_is_the_only_way_past_measurement():
    stated = {"rule": "stated", "reason": "needs an A100"}
    found = judge(claim(**stated), {"laptop": measured([40] * 3)})
    assert (found.verdict, found.reason) == ("not testable here", "needs an A100")


def test_what_was_promised_is_looked_for(tmp_path, monkeypatch):
    promised = claim(kind="promise", rule="shipped", files=("book/*.md", "models/one.safetensors"))
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "book").mkdir()
    (tmp_path / "book/index.md").touch()
    found = judge(promised, {})
    assert (found.verdict, found.reason) == ("not yet", "the project has no models/one.safetensors")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/one.safetensors").touch()
    found = judge(promised, {})
    assert found.verdict == "reproduced" and found.measured.startswith("1 of book/*.md; ")


def test_a_number_that_only_the_interval_reaches_is_marked():
    near = judge(claim(), {"laptop": measured([39, 40, 41])})
    wide = judge(claim(), {"laptop": measured([20, 30, 40])})
    assert near.verdict == wide.verdict == "reproduced"
    assert not near.reason and wide.reason == "the interval reaches it, the mean does not"


def test_a_variant_that_no_seed_changes_stands_beside_every_seed():
    ordering = {**DIRECTION, "variant": "pnn - bert", "scale": "laptop"}
    rows = measured([50, 51, 52], [40])
    alone = judge(claim(**ordering), {"laptop": rows})
    beside = judge(claim(**ordering, untrained="bert"), {"laptop": rows})
    assert (alone.seeds, beside.seeds) == (1, 3)
    assert beside.mean == pytest.approx(11) and beside.verdict == "reproduced"
    turned = judge(claim(**ordering, untrained="pnn"), {"laptop": measured([50], [40, 41, 42])})
    assert turned.mean == pytest.approx(9)


def test_a_promised_file_counts_when_recorded_rows_fill_it():
    promised = {"kind": "promise", "rule": "exported", "experiment": "foam_trial", "value": None}
    both = pd.concat(
        [
            measured([50] * 3, name=name, split=split).assign(variant=arm)
            for name, split in ABLATED.values()
            for arm in ABLATION.values()
        ]
    )
    found = judge(claim(**promised), {"laptop": both})
    assert found.verdict == "reproduced"
    assert found.measured == "ablation_comparison.json: baseline, neural_foam, difference"
    one = both[both["variant"] == "ffn_replay"]
    assert judge(claim(**promised), {"laptop": one}).verdict == "not yet"


# Profiles and seeds


@pytest.mark.parametrize("level", ["smoke", "custom"])
@pytest.mark.parametrize("changes", [{}, DIRECTION, CHECK, {**CHECK, "kind": "negative"}])
def test_smoke_and_custom_never_decide(level, changes):
    name = "holds" if "metric" in changes else "accuracy"
    rows = measured([1, 1, 1], [0, 0, 0], name=name)
    assert verdict(rows, level=level, scale="any", **changes) == "not yet"


def test_an_unknown_level_is_an_error():
    with pytest.raises(ValueError, match="level is 'labtop'; allowed: reference, paper, laptop"):
        judge(claim(), {"labtop": measured([40])})


@pytest.mark.parametrize("level", ["laptop", "paper"])
def test_reduced_scale_is_capped(level):
    ordering = {"scale": "paper", "reduced": "pnn - bert"}
    spot_on, below = measured([40] * 5, [39] * 5), measured([40] * 5, [41] * 5)
    assert verdict(spot_on, level, **ordering) == "direction holds at reduced scale"
    found = judge(claim(**ordering), {level: below})
    assert (found.verdict, found.profile) == ("not yet", level)
    assert found.reason.startswith("at a reduced size the difference is on the other side; ")
    assert verdict(spot_on, level, scale="paper") == "not yet"
    held = measured([1] * 5, name="holds")
    assert verdict(held, level, **CHECK, scale="paper") == "direction holds at reduced scale"
    assert verdict(spot_on, "reference", **ordering) == "reproduced"


def test_the_largest_scale_decides():
    at = {"laptop": measured([40] * 3), "paper": measured([30] * 5), "smoke": measured([40])}
    found = judge(claim(), at)
    assert (found.verdict, found.profile, found.size) == ("not reproduced", "paper", "small")
    found = judge(claim(), at | {"reference": measured([40] * 3)})
    assert (found.verdict, found.profile, found.size) == ("reproduced", "paper", "reference")


def test_too_few_seeds_leave_it_open():
    found = judge(claim(), {"laptop": measured([40])})
    assert (found.verdict, found.reason) == ("not yet", "1 of the 3 seeds needed have been run")
    assert found.measured == "40 (one seed) percent"
    unfinished = {"paper": measured([30] * 2), "laptop": measured([40] * 3)}
    assert judge(claim(), unfinished).profile == "laptop"
    assert verdict(measured([40]), deterministic=True) == "reproduced"


def test_no_measurement_is_named():
    found = judge(claim(), {"laptop": measured([1], name="loss")})
    assert (found.verdict, found.seeds) == ("not yet", 0)
    assert found.reason == "e has recorded no accuracy of pnn"
    assert verdict(measured([1, 2, 3]), **DIRECTION) == "not yet"


def test_every_verdict_is_reachable():
    five = measured([40] * 5, [39] * 5)
    negative = {**CHECK, "kind": "negative"}
    again = {"rule": "arithmetic", "value": 88}
    reached = {
        verdict(five),
        verdict(five, value=20.0),
        verdict(five, value=80.0),
        verdict(five, scale="paper", reduced="pnn - bert"),
        verdict(measured([1] * 5, name="holds"), **negative),
        verdict(measured([0] * 5, name="holds"), **negative),
        verdict(five, **again),
        verdict(five, rule="stated", reason="cannot"),
        verdict(five, variant="other"),
    }
    assert reached == set(claims.VERDICTS)


# Malformed rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "opinion"}, "kind is 'opinion'; allowed: number, direction"),
        ({"scale": "huge"}, "scale is 'huge'; allowed: any, laptop, paper"),
        ({"rule": "guess"}, "rule is 'guess'; allowed: number"),
        ({"kind": "negative"}, "rule of a negative is 'number'"),
        ({"rule": "stated"}, "rule 'stated' needs reason"),
        ({"rule": "stated", "reason": " "}, "rule 'stated' needs reason"),
        ({"verdict": "reproduced"}, "unknown field 'verdict'"),
        ({"metric": None}, "field 'metric' is missing"),
        ({"experiment": ""}, "rule 'number' needs experiment"),
        ({"metric": "acuracy"}, "unknown metric 'acuracy'"),
        ({"value": None}, "rule 'number' needs one number as value; got None"),
        ({"value": "1, 2"}, "rule 'number' takes no list"),
        ({"value": "some"}, "value is 'some'; allowed: numbers"),
        ({"tolerance": 5}, "tolerance is 5; allowed: 0 up to 1"),
        ({"tolerance": "5%"}, "tolerance is '5%'; allowed: 0 up to 1"),
        ({**DIRECTION, "variant": "pnn"}, "'pnn' is no difference; allowed: 'a - b'"),
        ({**DIRECTION, "metric": "gate_mean"}, "gate_mean has no better side"),
        ({"rule": "sequence", "value": "1, 2", "step": [1]}, "a list of 2"),
        ({"rule": "sequence"}, "rule 'sequence' needs several values; got 40"),
        ({"reduced": "pnn - bert"}, "`reduced` is for numbers of scale 'paper'"),
        ({"reduced": "pnn", "scale": "paper"}, "'pnn' is no difference"),
        ({"untrained": "pnn"}, "'pnn' is no difference"),
        ({**DIRECTION, "untrained": "shared"}, "untrained is 'shared'; allowed: pnn, bert"),
        ({"rule": "shipped"}, "rule 'shipped' needs files"),
        ({"rule": "exported"}, "experiment of rule 'exported' is 'e'; allowed: pnn_evidence"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match="claim 'x': ") as error:
        load(write(tmp_path, row(**changes)))
    assert message in str(error.value)


def test_an_id_is_used_once(tmp_path):
    with pytest.raises(ValueError, match="found twice: x"):
        load(write(tmp_path, row(), row()))
    without = {key: value for key, value in row().items() if key != "id"}
    with pytest.raises(ValueError, match=r"\(a row of system without id\).*'id' is missing"):
        load(write(tmp_path, without))


def test_a_row_that_means_several_values_is_refused():
    rows = pd.concat([measured([1, 2, 3]), measured([1, 2, 3], split="validation")])
    with pytest.raises(ValueError, match="name the split and the step"):
        judge(claim(), {"laptop": rows})
    assert verdict(rows, split="test", value=2.0) == "reproduced"


# Reading the store


def test_the_ledger_reads_finished_results(monkeypatch, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "e.py").touch()
    monkeypatch.setattr(claims.experiments, "__file__", tmp_path / "experiments" / "__init__.py")
    monkeypatch.setattr(paths, "PROFILES", tmp_path)
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(paths, "PAPER_RESULTS", tmp_path / "committed")
    (tmp_path / "laptop.yaml").write_text("seeds: 3\nexperiments: {e: {}}")
    (tmp_path / "paper.yaml").write_text("seeds: 3\nexperiments: {e: {}}")
    (tmp_path / "07_e.ipynb").touch()
    asked = []

    def finished(experiment, profile, size):
        asked.append((experiment, profile, size))
        rows = measured([40] * 3) if profile == "laptop" else measured([30] * 5)
        return results.Study(rows=rows, provenance=[])

    monkeypatch.setattr(results, "load", finished)
    one, other = claim(), dataclasses.replace(claim(), id="y", experiment="unwritten")
    assert set(ledger([one])["verdict"]) == {"not yet"}
    assert asked == []
    (paths.results() / "laptop" / "e").mkdir(parents=True)
    table = ledger([one, other])
    assert asked == [("e", "laptop", "small")]
    assert table["verdict"].tolist() == ["reproduced", "not yet"]
    first = table.iloc[0]
    assert (first["notebook"], first["profile"], first["seeds"]) == ("07_e", "laptop", 3)
    assert (first["mean"], first["low"], first["high"]) == (40, 40, 40)
    (tmp_path / "committed" / "e").mkdir(parents=True)
    assert ledger([one])["profile"].tolist() == ["paper"]


@pytest.mark.parametrize("listed", ["{}", "{variants: {large: {}}}"])
def test_what_a_larger_size_does_not_enlarge_is_not_of_that_size(monkeypatch, tmp_path, listed):
    monkeypatch.setattr(paths, "PROFILES", tmp_path)
    monkeypatch.setattr(claims.profiles, "configs", lambda _, __, size: configs[size])
    text = f"seeds: 3\nexperiments: {{pnn_model: {{}}}}\nreference: {{pnn_model: {listed}}}"
    (tmp_path / "paper.yaml").write_text(text)
    (tmp_path / "laptop.yaml").write_text("seeds: 3\nexperiments: {e: {}}")
    same, large = SimpleNamespace(variant="same"), SimpleNamespace(variant="large")
    configs = {"small": [same], "reference": [same, large]}
    stored = pd.concat(measured([40] * 5).assign(variant=name) for name in ("same", "large"))
    monkeypatch.setattr(results, "load", lambda *_: results.Study(rows=stored, provenance=[]))
    monkeypatch.setattr(paths, "PAPER_RESULTS", tmp_path / "committed")
    (tmp_path / "committed" / "pnn_model").mkdir(parents=True)
    found = claims.recorded("pnn_model")
    of_one_size = {"same", "large"} if listed == "{}" else {"large"}
    assert set(found["reference"]["variant"]) == of_one_size
    assert set(found["paper"]["variant"]) == {"same", "large"}


def test_the_whole_ledger_without_results(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "PAPER_RESULTS", tmp_path)
    table = ledger()
    assert len(table) == 119
    shipped = [one.id for one in load() if one.rule == "shipped"]
    assert table[table["id"].isin(shipped)]["verdict"].tolist() == ["reproduced"] * len(shipped)
    rest = table[~table["id"].isin(shipped)]
    assert set(rest["verdict"]) == {"not yet", "not testable here"}
    assert (rest["reason"] != "").all()


def test_the_ledger_needs_no_torch():
    code = "import sys, plasticity.companion.claims; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
