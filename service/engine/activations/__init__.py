"""Reading and changing activations: capture buffers, gathering, interventions, positions, the logit lens."""
