"""avstore train: the trainer, as train/run.py runs it."""

import sys

import typer

app = typer.Typer(add_completion=False)


@app.command(
    "train",
    epilog="Example: avstore train --shards data --method er",
    add_help_option=False,
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
)
def run(context: typer.Context) -> None:
    """Train a model on a stream of tasks; all options of train/run.py."""
    from avstore.train.run import main

    # Not by Typer, which would report Ctrl-C a second time.
    sys.exit(main(context.args, program="avstore train"))
