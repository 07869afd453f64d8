"""Checkpoints look the same in every figure."""

from gradatlas.figures.style import EARLY, LATE, looks


def test_first_checkpoint_is_blue_and_last_is_green() -> None:
    for epochs in ([2, 30], [0, 1, 5, 30]):
        colours = {epoch: look.colour for epoch, look in looks(epochs).items()}
        assert colours[epochs[0]].upper() == EARLY.upper()
        assert colours[epochs[-1]].upper() == LATE.upper()
        assert len(set(colours.values())) == len(epochs)
