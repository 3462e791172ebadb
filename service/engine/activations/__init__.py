"""Activations: capture buffers, gathering, interventions, positions and the logit lens."""
