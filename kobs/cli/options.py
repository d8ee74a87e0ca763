"""What commands share: loading the settings with a command's flags on top."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kobs.config import Settings


def load_settings(context: click.Context, overrides: Mapping[str, object] | None = None) -> "Settings":
    """Load the settings from `--config FILE`, the environment and a command's flags (`overrides`, by dotted key).

    Raises: ConfigError.
    """
    # imported here because commands that need no settings start faster without pydantic
    from kobs.config import load  # noqa: PLC0415

    return load(context.find_root().obj, overrides=overrides)
