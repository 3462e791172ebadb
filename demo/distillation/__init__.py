"""The experiment behind ``docs/distillation-experiment.md``: its runs, its estimates, and the page with the results."""
