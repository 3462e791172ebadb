"""The parts of `python -m demo.run`: the tour as a value, service, tuning, completions, states, map, report."""
