"""Priors: the distributions from which a prompt's vectors are drawn before tuning. Fitted in float64."""
