"""The long work, on RQ workers: tuning, priors, analysis, distillation."""
