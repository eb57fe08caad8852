"""From a change of the models to revision files that are safe to run."""
