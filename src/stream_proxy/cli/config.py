import typer

config = typer.Typer()


@config.command()
def check() -> None: ...
@config.command()
def show() -> None: ...
