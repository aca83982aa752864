"""What a user sees of several errors at once."""

from __future__ import annotations

import pytest

from p2p.base.errors import ConfigError
from p2p.cli.tasks import first_error, run_async


@pytest.mark.parametrize(("errors", "shown"), [
    ([ValueError("a"), ConfigError("b", field="dir")], ConfigError),
    ([ConfigError("b", field="dir"), KeyboardInterrupt()], KeyboardInterrupt),
    ([ValueError("a"), TypeError("b")], TypeError),  # the one that is nested least
])
def test_ctrl_c_goes_before_a_typed_error_and_that_before_others(
    errors: list[BaseException], shown: type[BaseException]
) -> None:
    nested = BaseExceptionGroup("outer", [BaseExceptionGroup("inner", errors[:1]), *errors[1:]])
    assert type(first_error(nested)) is shown


def test_a_command_raises_the_error_itself() -> None:
    async def fails() -> None:
        raise BaseExceptionGroup("group", [KeyboardInterrupt(), ConfigError("b", field="dir")])

    with pytest.raises(KeyboardInterrupt):
        run_async(fails)
