"""Command line of the book: ``python -m plasticity.companion.book stage|build``."""

import sys

import click

from plasticity.companion import paths, profiles
from plasticity.companion.book.rendering import BuildFailed, build
from plasticity.companion.book.staging import stage


@click.command()
@click.argument("action", type=click.Choice(["stage", "build", "where"]))
@click.option("--profile", default="laptop", show_default=True, help="Profile of the notebooks.")
def main(action: str, profile: str) -> None:
    """Gather the book's pages (stage), render them too (build), or tell where the book is."""
    if profile not in profiles.names():
        raise click.BadParameter(
            f"got {profile!r}, allowed: {', '.join(profiles.names())}", param_hint="--profile"
        )
    try:
        if action == "stage":
            click.echo(f"Staged in {stage(profile)}")
        elif action == "build":
            click.echo(f"Built at profile {profile}: {build(profile)}")
        else:
            _tell_where()
    except (BuildFailed, ValueError, FileNotFoundError) as error:
        click.echo(f"There is no new book.\n{error}", err=True)
        sys.exit(1)


def _tell_where() -> None:
    """Print the address of the book and a command that serves it."""
    index = paths.book_html() / "index.html"
    if not index.exists():
        raise FileNotFoundError(f"{index} does not exist; run: make book")
    click.echo(f"Read it:  {index.as_uri()}")
    click.echo(f"Serve it: {sys.executable} -m http.server 8000 -d {index.parent}")


if __name__ == "__main__":
    main()
