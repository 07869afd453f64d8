"""The record of one batch size of the default experiment; tests replace what they vary."""

from gradatlas.core.settings import TrialSettings
from gradatlas.core.training import Training
from gradatlas.core.updates import SGD

RECORD = TrialSettings(
    protocol="sgd",
    epoch=2,
    batch_size=4,
    update=SGD(learning_rate=0.01),
    samples_per_trial=1024,
    sample_sets=None,
    parameter="last.weight",
    seed=0,
    training_seed=0,
    dataset="MNIST",
    training_samples=60_000,
    model={"hidden": [1024]},
    training=Training(batch_size=1024, learning_rate=0.01, momentum=0.0),
)
