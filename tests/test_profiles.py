import pytest
import yaml

from plasticity.companion import paths, profiles
from plasticity.companion.configuration import experiment_names
from plasticity.companion.results_files import read_record
from plasticity.companion.yaml_files import read_yaml


def write(name, text):
    (paths.PROFILES / f"{name}.yaml").write_text(text)


def test_names_and_seeds_of_the_shipped_profiles():
    assert profiles.names() == ["smoke", "laptop", "paper"]
    assert [len(profiles.seeds(name)) for name in profiles.names()] == [1, 3, 5]
    assert profiles.seeds("smoke", count=2) == [0, 1]


@pytest.mark.parametrize("profile", ["smoke", "laptop", "paper"])
def test_every_shipped_setting_is_allowed(profile):
    found = [name for name in experiment_names() if name in listed(profile, "experiments")]
    assert sorted(found) == sorted(listed(profile, "experiments"))
    for name in found:
        variants = [config.variant for config in profiles.configs(name, profile)]
        assert len(set(variants)) == len(variants) > 0
    for name in listed(profile, "reference"):
        assert profiles.configs(name, profile, size="reference")


def test_every_committed_result_is_of_the_paper_profile():
    """A default that changes would leave what was measured behind, and a page without it."""
    known, left = {}, []
    for name in experiment_names():
        sizes = ["small", *(["reference"] if name in listed("paper", "reference") else [])]
        known[name] = {
            (config.variant, config.hash)
            for size in sizes
            for config in profiles.configs(name, "paper", size=size)
        }
    for path in sorted(paths.PAPER_RESULTS.glob("*/*/*.json")):
        record = read_record(path)
        if (record["variant"], record["config_hash"]) not in known[record["experiment"]]:
            left.append(str(path.relative_to(paths.PAPER_RESULTS)))
    assert known and not left


def listed(profile, part):
    return profiles._profile(profile).get(part) or {}


def test_shared_settings_variants_reference_and_changes(toy):
    write(
        "paper",
        """
seeds: 5
experiments:
  toy:
    all: {offset: 1.0, steps: 4}
    variants:
      a: {}
      b: {steps: 5}
reference:
  toy:
    all: {steps: 9}
    variants:
      b: {offset: 2.0}
""",
    )
    small = profiles.configs("toy", "paper")
    assert [(c.variant, c.offset, c.steps) for c in small] == [("a", 1.0, 4), ("b", 1.0, 5)]
    reference = profiles.configs("toy", "paper", size="reference")
    assert [(c.variant, c.offset, c.steps) for c in reference] == [("a", 1.0, 9), ("b", 2.0, 9)]
    changed = profiles.configs("toy", "paper", steps=7, offset=None)
    assert [(c.offset, c.steps) for c in changed] == [(1.0, 7), (1.0, 7)]
    assert profiles.configs("toy", "laptop") == [toy.config()]


def test_an_edited_profile_is_read_again(toy):
    assert len(profiles.seeds("laptop")) == 2
    write("laptop", "seeds: 11\nexperiments: {}\n")
    assert len(profiles.seeds("laptop")) == 11


def test_unknown_names_list_what_exists(toy):
    with pytest.raises(ValueError, match="profile is 'laptp'; allowed: 'smoke', 'laptop', 'paper'"):
        profiles.configs("toy", "laptp")
    with pytest.raises(ValueError, match="profile is 'laptp'"):
        profiles.seeds("laptp")
    with pytest.raises(
        ValueError, match="experiment is 'no'; experiments of profile 'laptop': toy"
    ):
        profiles.configs("no", "laptop")
    with pytest.raises(ValueError, match="reference of profile 'laptop': none"):
        profiles.configs("toy", "laptop", size="reference")
    with pytest.raises(ValueError, match="size is 'big'; allowed: 'small', 'reference'"):
        profiles.configs("toy", "laptop", size="big")
    with pytest.raises(ValueError, match=r"'stepz' is no setting of .*toy\.Config; allowed: "):
        profiles.configs("toy", "laptop", stepz=3)
    with pytest.raises(ValueError, match="seeds is -1; allowed: 0 to 1000"):
        profiles.seeds("laptop", count=-1)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("seeds: [", ValueError, "laptop.yaml is not valid YAML"),
        ("- 1", ValueError, "laptop.yaml holds a list"),
        ("seed: 1", ValueError, "a key of laptop.yaml is 'seed'; allowed: 'seeds'"),
        ("experiments: {}", ValueError, "seeds in laptop.yaml is 0; allowed: 1 to 1000"),
        ("seeds: 1\nexperiments: {toy: {al: {}}}", ValueError, "a key of toy in laptop.yaml"),
        ("seeds: 1\nexperiments: {toy: {all: {offset: 1e-4}}}", TypeError, "write 1.0e-4"),
    ],
)
def test_mistakes_in_a_profile_are_named(toy, text, error, message):
    write("laptop", text)
    with pytest.raises(error, match=message):
        profiles.configs("toy", "laptop")


def test_a_key_that_stands_twice_is_refused(tmp_path):
    twice = tmp_path / "twice.yaml"
    twice.write_text("a: &a {x: 1}\nb: {<<: *a, x: 2}\nc: [{y: 1, z: 2, y: 3}]\n", encoding="utf-8")
    with pytest.raises(yaml.YAMLError, match="mapping at line 3: key 'y' stands twice; keep one"):
        read_yaml(twice)
    twice.write_text("a: &a {x: 1}\nb: {<<: *a, x: 2}\n", encoding="utf-8")
    assert read_yaml(twice) == {"a": {"x": 1}, "b": {"x": 2}}
    twice.write_text("", encoding="utf-8")
    assert read_yaml(twice) is None
