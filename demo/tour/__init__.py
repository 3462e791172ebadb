"""The parts of `python -m demo.run`: service, tuning, completions, states, map, tables, picture."""
