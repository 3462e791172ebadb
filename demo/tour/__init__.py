"""The stops of `python -m demo.run`, one file each: a running service, prompts, answers, states, a picture."""
