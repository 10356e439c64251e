import hashlib
import json
import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    experiment_module,
    experiment_names,
)


@dataclass(frozen=True)
class Config(ExperimentConfig):
    size: int = field(default=2, metadata={"help": "size"})
    rate: float = field(default=0.1, metadata={"help": "rate"})
    tied: bool = field(default=True, metadata={"help": "tied"})
    weights: tuple[float, ...] = field(default=(0.1, 0.2), metadata={"help": "weights"})
    pair: tuple[int, str] = field(default=(1, "a"), metadata={"help": "pair"})
    limit: int | None = field(default=None, metadata={"help": "limit"})

    def __post_init__(self):
        super().__post_init__()
        check_range("size", self.size, 1, 10)


configs = st.builds(
    Config,
    variant=st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True),
    size=st.integers(1, 10),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    tied=st.booleans(),
    weights=st.lists(st.floats(-1e6, 1e6)).map(tuple),
    pair=st.tuples(st.integers(), st.text()),
    limit=st.none() | st.integers(),
)


@given(configs)
def test_json_round_trip_keeps_config_and_hash(config):
    again = Config.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.hash == config.hash
    assert len({again, config}) == 1


def test_equal_settings_have_one_hash():
    assert Config(rate=1).hash == Config(rate=1.0).hash
    assert Config(weights=[1, 2]).hash == Config(weights=(1.0, 2.0)).hash
    assert Config(size=3).hash != Config(size=4).hash
    assert Config().hash == Config().hash


def test_hash_is_the_same_on_every_machine():
    """A changed way of hashing would orphan every stored result."""
    text = b'{"variant":"default"}'
    assert ExperimentConfig().hash == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 2.0}, r"size is 2\.0 \(float\); allowed: int"),
        ({"size": True}, r"size is True \(bool\); allowed: int"),
        ({"tied": 1}, r"tied is 1 \(int\); allowed: bool"),
        ({"rate": "1e-4"}, r"rate is '1e-4' \(str\); allowed: float; in YAML write 1\.0e-4"),
        ({"rate": False}, r"rate is False \(bool\); allowed: float"),
        ({"weights": (0.1, "b")}, r"weights\[1\] is 'b' \(str\); allowed: float"),
        ({"pair": (1, "a", 2)}, r"pair is \(1, 'a', 2\) \(tuple\); allowed: tuple\[int, str\]"),
        ({"limit": 0.5}, r"limit is 0\.5 \(float\); allowed: int"),
        ({"variant": None}, r"variant is None \(NoneType\); allowed: str"),
    ],
)
def test_wrong_type_is_named(settings, message):
    with pytest.raises(TypeError, match=message):
        Config.from_dict(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sizes": 2}, "'sizes' is no setting of .*Config; allowed: variant, size, rate"),
        ({"size": 11}, "size is 11; allowed: 1 to 10"),
        ({"rate": math.inf}, "rate is inf; allowed: finite"),
        ({"variant": "../up"}, "variant is '../up'; allowed: letters"),
        ({"variant": ""}, "variant is ''; allowed: letters"),
    ],
)
def test_wrong_value_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Config.from_dict(settings)


def test_ranges_and_choices():
    check_range("x", 1, 1, 2)
    check_choice("x", "a", ("a", "b"))
    with pytest.raises(ValueError, match="x is nan; allowed: 1 to 2"):
        check_range("x", math.nan, 1, 2)
    with pytest.raises(ValueError, match="x is 'c'; allowed: 'a', 'b'"):
        check_choice("x", "c", ("a", "b"))


def test_runtime_is_checked():
    with pytest.raises(ValueError, match="device is 'gpu'; allowed: 'auto', 'cpu', 'cuda'"):
        Runtime(device="gpu")
    with pytest.raises(ValueError, match="workers is -1"):
        Runtime(workers=-1)
    with pytest.raises(TypeError, match="workers is True"):
        Runtime(workers=True)


def test_unknown_experiment_lists_those_that_exist():
    assert "companion_overhead" in experiment_names()
    with pytest.raises(ValueError, match=r"experiment is 'no'; allowed: .*'companion_overhead'"):
        experiment_module("no")


@pytest.mark.parametrize("name", experiment_names())
def test_every_experiment_checks_and_explains_its_settings(name):
    config = experiment_module(name).Config
    with pytest.raises(TypeError, match="variant is 3"):
        config(variant=3)
    assert config.from_dict(config().to_dict()) == config()
    for item in config.__dataclass_fields__.values():
        assert item.metadata.get("help"), f"{name}: {item.name} has no help"
