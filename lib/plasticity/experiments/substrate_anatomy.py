"""The anatomy of neuron-graph: memory, spread, explanation and durability, each on a small brain.

How synapses change is the subject of `substrate_rules`.
"""

import ast
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from plasticity.companion import metrics
from plasticity.companion.configuration import ExperimentConfig, Runtime, check_range, setting
from plasticity.substrate import Brain, Emission
from plasticity.substrate import __file__ as substrate_file
from plasticity.substrate.structures import NEURON_DTYPE, PENDING_DTYPE, SYNAPSE_DTYPE

ROUNDING = 1e-5  # relative to the sum of absolute contributions; float32 has 6e-8
CACHE_LINE = 64  # bytes
COLUMNS = ["step", "split", "metric", "value"]
Rows = Iterator[tuple[int, str, str, float]]

# The world of the drawings: (source, relation, target, weight). Prevents is inhibitory.
WEATHER = (
    ("cloud", "causes", "rain", 0.9),
    ("cloud", "prevents", "sun", 0.7),
    ("sun", "causes", "dry", 0.8),
    ("sprinkler", "causes", "wet", 0.5),
    ("rain", "causes", "wet", 0.8),
    ("rain", "calls for", "umbrella", 0.8),
    ("wet", "prevents", "dry", 0.8),
    ("wet", "causes", "slippery", 0.7),
    ("slippery", "causes", "fall", 0.6),
    ("slippery", "calls for", "care", 0.8),
    ("care", "prevents", "fall", 0.5),
)
LEAK = 0.5
SIGNS = {"causes": 1, "prevents": -1, "calls for": 1}
# Where each of the source's six domains is written down.
DOMAINS = {
    "tic-tac-toe": ("tictactoe",),
    "sentences": ("sentences",),
    "sound": ("audio", "recognition"),
    "film": ("video", "recognition"),
    "digits": ("images",),
    "stories": ("stories",),
}
ENGINE = "plasticity.substrate"
MATRIX_NAMES = {"dot", "matmul", "einsum", "tensordot", "inner", "vdot", "linalg", "backward"}
PRIMITIVES = {name for name in dir(Brain) if not name.startswith("_")} | {
    "memory",
    "modulator",
    "seed",
    "tick",
    "substrate.Brain",
    "substrate.Emission",
    "substrate.Relation",
    "substrate.learning.softmax_error",
    "substrate.learning.margin_error",
}
EXEMPT = {"fast", "reference", "verify"}  # modules where a matrix product is allowed
GRADIENT_LIBRARIES = {"torch", "jax", "tensorflow", "autograd"}


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """How thoroughly the two properties that random brains decide are tried."""

    graphs: int = setting(50, "random graphs whose activations are explained")
    cuts: int = setting(60, "places at which the log of commits is cut")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        for name in ("graphs", "cuts"):
            check_range(name, getattr(self, name), 2, 100_000)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that the run depends on: none."""
    return ()


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Use every primitive of structure and spread once.

    Parameters
    ----------
    config : Config
    seed : int
    folder : Path
        Brains are saved in it.
    runtime : Runtime
        Not used.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. Split names the primitive and what of it is
        varied, as in ``leak 0.8``; step counts cycles, inputs, places or graphs.
    """
    random = np.random.default_rng(seed)
    parts = (
        _records(),
        _source_code(),
        _leaks(),
        _thresholds(),
        _goals(),
        _working_memory(),
        _winners(random),
        _explanations(config.graphs, random),
        _cut_log(folder / "brain", config.cuts, seed),
    )
    frame = pd.DataFrame([row for part in parts for row in part], columns=COLUMNS)
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def weather() -> Brain:
    """Return the brain of the drawings: ten neurons with three kinds of synapse.

    Examples
    --------
    >>> weather().spread("cloud", cycles=2).names()
    ['wet', 'umbrella']
    """
    brain = Brain()
    names = dict.fromkeys(name for source, _, target, _ in WEATHER for name in (source, target))
    brain.neurons(list(names), leak=LEAK)
    for relation, sign in SIGNS.items():
        brain.relation(relation, sign=sign)
    for source, relation, target, weight in WEATHER:
        brain.connect(source, target, weight, relation)
    brain.consolidate()
    return brain


def followed(brain: Brain, emission: Emission) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what every neuron and synapse did in every cycle of a spread.

    Parameters
    ----------
    brain : Brain
        Small: every neuron and every synapse has a line for every cycle.
    emission : Emission
        What its spread returned.

    Returns
    -------
    neurons : DataFrame
        Columns cycle (0 is the input), neuron (its name), activation (after the cycle, what was
        hit before with its leak; of the input, what is emitted), hit and emits.
    synapses : DataFrame
        Columns cycle (from 1), source, target, relation, sign, weight and delivered (0 where the
        source did not emit).
    """
    edges, kinds = brain.edges(), brain.relations
    names = np.array([brain.name(i) or f"#{i}" for i in range(len(brain))])
    sign = np.array([kind.sign for kind in kinds])[edges["relation"]]
    everyone = np.arange(len(brain))
    activation, given = np.zeros(len(brain)), np.zeros(len(brain))
    first, leaks = emission.cycles[0], brain.get(everyone, "leak")
    given[first.sources] = first.values
    here = np.isin(everyone, first.sources)
    lines, deliveries = [(0, given, here, here)], []
    for number, cycle in enumerate(emission.cycles, start=1):
        emitted = np.zeros(len(brain))
        emitted[cycle.sources] = cycle.values
        deliveries.append((number, sign * edges["weight"] * emitted[edges["source"]]))
        activation *= leaks
        activation[cycle.hit] = cycle.activations
        hit, emits = np.zeros(len(brain), bool), np.zeros(len(brain), bool)
        hit[cycle.hit], emits[cycle.hit] = True, cycle.emitted
        lines.append((number, activation.copy(), hit, emits))
    neurons = [
        pd.DataFrame({"cycle": n, "neuron": names, "activation": a, "hit": h, "emits": e})
        for n, a, h, e in lines
    ]
    synapses = [
        pd.DataFrame(
            {
                "cycle": number,
                "source": names[edges["source"]],
                "target": names[edges["target"]],
                "relation": [kinds[i].name for i in edges["relation"]],
                "sign": sign,
                "weight": edges["weight"],
                "delivered": delivered,
            }
        )
        for number, delivered in deliveries
    ]
    return pd.concat(neurons, ignore_index=True), pd.concat(synapses, ignore_index=True)


def grown() -> list[tuple[str, pd.DataFrame]]:
    """Return the synapses of a growing brain as they lie in memory, stage by stage.

    Returns
    -------
    list of (str, DataFrame)
        What happened, and columns source, target, weight, pending (bool) and next (place of the
        pending synapse before it on the source's chain, -1 for none), in the order of memory.
    """
    brain = Brain()
    brain.neurons(list("ABCD"))
    stages = []

    def note(what: str) -> None:
        graph = brain.graph
        rows, pending = graph.synapses, graph.pending
        frame = pd.DataFrame(
            {
                "source": [*graph.sources(), *pending["source"]],
                "target": [*rows["target"], *pending["target"]],
                "weight": [*rows["weight"], *pending["weight"]],
                "pending": [False] * len(rows) + [True] * len(pending),
                "next": [-1] * len(rows) + [int(place) - 1 for place in pending["next"]],
            }
        )
        names = dict(enumerate("ABCD"))
        stages.append((what, frame.replace({"source": names, "target": names})))

    brain.connect(list("CABAD"), list("DBCCA"), [0.9, 0.4, 0.8, 0.7, 0.5])
    note("five synapses grow, one after the other")
    brain.consolidate()
    note("consolidate(): sorted into the rows of their sources")
    brain.connect(list("BAA"), list("DDB"), [0.6, 0.3, 1.0])
    note("two more grow while it runs, and A → B gets another weight in its row")
    brain.consolidate(epsilon=0.35)
    note("consolidate(epsilon=0.35): merged, and the weakest is gone")
    return stages


def _records() -> Rows:
    """Yield the bytes of the records, and whether memory is laid out as the source says."""
    for name, kind in (("neuron", NEURON_DTYPE), ("synapse", SYNAPSE_DTYPE)):
        yield 0, name, "bytes", kind.itemsize
    yield 0, "pending synapse", "bytes", PENDING_DTYPE.itemsize
    brain = weather()
    yield 0, "ten neurons", "bytes", brain.bytes
    rows, neurons = brain.graph.synapses, brain.graph.neurons
    ends = neurons["first_synapse"] + neurons["fan_out"]
    order = [(edge["source"], edge["relation"], edge["target"]) for edge in brain.edges()]
    layout = (
        NEURON_DTYPE.itemsize == CACHE_LINE and neurons.dtype == NEURON_DTYPE,
        SYNAPSE_DTYPE.itemsize == 16 and rows.dtype == SYNAPSE_DTYPE,
        bool((neurons["first_synapse"][1:] == ends[:-1]).all()) and int(ends[-1]) == len(rows),
        order == sorted(order),
    )
    yield 0, "rows", "memory_layout_holds", float(all(layout))
    aligned = neurons.ctypes.data % CACHE_LINE == 0
    yield 0, "cache line", "memory_layout_holds", float(aligned)


def _source_code() -> Rows:
    """Yield what the source code itself shows: no matrix product, and what the domains use."""
    package = Path(substrate_file).parent
    found = [file for file in package.rglob("*.py") if matrix_products(file.read_text())]
    exempt = [file for file in found if file.stem in EXEMPT]
    yield 0, "all", "no_matrix_product", float(found == exempt)
    uses = {name: primitives(text) for name, text in domains(package / "domains").items()}
    foreign = sum(len(set(used) - PRIMITIVES) for used in uses.values())
    yield 0, "not public", "primitive_uses", foreign
    for name, used in uses.items():
        for primitive, count in used.items():
            yield 0, f"{name}: {primitive}", "primitive_uses", count
    yield 0, "all", "domains", len(uses)
    if len(uses) == len(DOMAINS):  # else it is open
        yield 0, "all", "domains_share_primitives", float(foreign == 0)


def matrix_products(source: str) -> list[str]:
    """Return the matrix products and gradient libraries in a module's source code.

    Examples
    --------
    >>> matrix_products("import torch; y = w @ x")
    ['torch', '@']
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(name.name for name in node.names)]
            found += [name for name in names if name.split(".")[0] in GRADIENT_LIBRARIES]
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult):
            found.append("@")
        elif isinstance(node, ast.Attribute) and node.attr in MATRIX_NAMES:
            found.append(node.attr)
    return found


def domains(folder: Path) -> dict[str, str]:
    """Return the source code of every domain of `DOMAINS` that is there, by its name."""
    texts = {}
    for domain, units in DOMAINS.items():
        found = [[folder / f"{unit}.py", *sorted((folder / unit).glob("*.py"))] for unit in units]
        files = [file for files in found for file in files if file.exists()]
        if files:
            texts[domain] = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return texts


def primitives(source: str) -> dict[str, int]:
    """Return how often each attribute of a brain is used, and each part of the engine imported.

    Examples
    --------
    >>> primitives("self.brain.spread(x); brain.spread(y); brain.tick")
    {'spread': 2, 'tick': 1}
    >>> primitives("from plasticity.substrate.graph import Graph")
    {'substrate.graph.Graph': 1}
    """
    used: dict[str, int] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(ENGINE):
            path = node.module.removeprefix("plasticity.")
            for name in node.names if ".domains" not in path else ():
                full = f"{path}.{name.name}"
                used[full] = used.get(full, 0) + 1
        if isinstance(node, ast.Attribute):
            owner = getattr(node.value, "attr", getattr(node.value, "id", ""))
            if owner in ("brain", "_brain", "brain_"):
                used[node.attr] = used.get(node.attr, 0) + 1
    return dict(sorted(used.items()))


def _leaks() -> Rows:
    """Yield what is left of one pulse, tick by tick."""
    brain = Brain()
    leaks = (0.0, 0.5, 0.8, 0.95, 1.0)
    pulse = brain.neuron("pulse")
    held = [brain.neuron(f"leak {leak}", leak=leak) for leak in leaks]
    brain.connect(pulse, held, 1.0)
    resting = dict.fromkeys(held, 0.0)  # a goal of 0 has them looked at without input
    for tick in range(21):
        emission = brain.spread([] if tick else pulse, goal=resting)
        for neuron, value in zip(held, emission.activation(held), strict=True):
            yield tick, brain.name(neuron), "activation", value


def _thresholds() -> Rows:
    """Yield what is emitted for an input of step tenths."""
    brain = Brain()
    thresholds = (0.0, 0.5, 1.0)
    ends = [brain.neuron(f"threshold {at}", threshold=at) for at in thresholds]
    source = brain.neuron("input")
    brain.connect(source, ends, 1.0)
    for tenth in range(-5, 21):
        emission = brain.spread(source, tenth / 10)
        emitted = dict(zip(emission.neurons, emission.values, strict=True))
        for end in ends:
            yield tenth, brain.name(end), "emitted_value", emitted.get(end, 0.0)


def _goals() -> Rows:
    """Yield what two rivals for one place come to, with a goal of step hundredths on the weaker."""
    brain = Brain()
    brain.group("rivals", winners=1)
    left, right = brain.neurons(["0.6 of the input", "0.4 of the input"], group="rivals")
    source = brain.neuron("input")
    brain.connect(source, [left, right], [0.6, 0.4])
    for hundredth in range(0, 51, 2):
        emission = brain.spread(source, goal={int(right): hundredth / 100})
        for rival in (left, right):
            yield hundredth, brain.name(rival), "activation", emission.activation(rival)[0]
            yield hundredth, brain.name(rival), "emits", float(rival in emission.neurons)


def _working_memory() -> Rows:
    """Yield the gain of what is held in mind, by its position, and the law it should follow."""
    brain = Brain()
    source, plain = brain.neuron("input"), brain.neuron("not held")
    held = brain.grow(brain.memory.capacity)
    brain.connect(source, [plain, *held], 1.0)
    for strength in (1.0, 0.5):
        brain.memory.clear()
        brain.memory.hold(held[::-1], strength)  # the first of `held` comes last: position 0
        emission = brain.spread(source)
        alone = emission.activation(plain)[0]
        for position, value in enumerate(emission.activation(held)):
            law = np.exp(strength * brain.memory.decay**position)
            yield position, f"strength {strength}", "gain", value / alone
            yield position, f"strength {strength}, law", "gain", law


def _winners(random: np.random.Generator) -> Rows:
    """Yield the activations of a group of twelve with three places, and who emits."""
    brain = Brain()
    brain.group("group", winners=3)
    members = brain.grow(12, group="group")
    source = brain.neuron("input")
    brain.connect(source, members, random.uniform(0.1, 1, len(members)))
    emission = brain.spread(source)
    for place, value in enumerate(emission.activation(members)):
        yield place, "group", "activation", value
        yield place, "group", "emits", float(members[place] in emission.neurons)


def random_brain(random: np.random.Generator) -> Brain:
    """Return a brain in which everything that makes an activation occurs: nothing is left at 0."""
    brain = Brain(seed=int(random.integers(2**31)))
    brain.group("group", winners=3)
    count = 12
    neurons = np.concatenate([brain.grow(count // 2), brain.grow(count // 2, group="group")])
    brain.set(neurons, leak=random.uniform(0, 1, count), gain=random.uniform(0.5, 1.5, count))
    brain.set(neurons, bias=random.normal(0, 0.1, count), threshold=random.normal(0, 0.2, count))
    brain.relation("excites", sign=1)
    brain.relation("inhibits", sign=-1)
    for relation, synapses in (("excites", 24), ("inhibits", 12)):
        ends = random.integers(0, count, (2, synapses))
        brain.connect(*ends, random.uniform(0, 1, synapses), relation)
        if relation == "excites":
            brain.consolidate()  # so that some synapses lie in rows and others are pending
    brain.memory.hold(random.choice(neurons, 3, replace=False), 0.7)
    return brain


def _explanations(graphs: int, random: np.random.Generator) -> Rows:
    """Yield how far the paths behind an activation are from adding up to it."""
    worst = 0.0
    for graph in range(graphs):
        brain = random_brain(random)
        brain.spread([0, 1], [0.5, -0.5])  # leaves activation behind
        goal = {int(random.integers(len(brain))): 0.3}
        emission = brain.spread(random.integers(0, len(brain), 3), 1.0, 4, goal, trace=True)
        errors, counts = [], []
        for neuron in emission.hit:
            explained = brain.explain(int(neuron), k=0)
            parts = [path.contribution for path in explained.paths]
            size = sum(map(abs, parts)) or 1.0
            errors.append(abs(sum(parts) - explained.activation) / size)
            counts.append(len(parts))
        yield graph, "random brains", "path_error", max(errors, default=0.0)
        yield graph, "random brains", "paths", max(counts, default=0)
        worst = max([worst, *errors])
    yield 0, "random brains", "paths_add_up", float(worst < ROUNDING)


def _state(brain: Brain) -> bytes:
    """Return all that a brain keeps in its arrays."""
    arrays = ("neurons", "synapses", "pending", "names", "text")
    return b"".join(brain.store[name].tobytes() for name in arrays)


def _cut_log(folder: Path, cuts: int, seed: int) -> Rows:
    """Yield how many commits are found again where the log of three of them breaks off.

    A crash leaves the log cut at any byte. Every cut is a copy of the folder whose log ends there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    brain = Brain(seed=seed)
    brain.relation("means", rule="hebbian", limit=1.0)
    brain.neurons(["a", "b", "c"])
    brain.save(folder)
    states, random = [_state(brain)], np.random.default_rng(seed)
    for name in ("d", "e", "f"):
        brain.neuron(name)
        brain.learn(random.integers(0, len(brain), 20), brain.index(name), "means")
        brain.commit()
        states.append(_state(brain))
    brain.learn("a", "f", "means", pre=0.5)  # never committed
    brain.close()
    [log] = folder.glob("gen-*/log.bin")
    whole = log.read_bytes()
    agree = True
    for cut in sorted({round(place) for place in np.linspace(0, len(whole), cuts)}):
        log.write_bytes(whole[:cut])
        with Brain.open(folder) as found:
            state = _state(found)
        commits = states.index(state) if state in states else -1
        agree &= commits >= 0
        yield cut, "cut log", "commits_found", commits
    agree &= commits == len(states) - 1
    yield 0, "cut log", "reopens_at_a_commit", float(agree)
