"""The distributions that a prompt's vectors are drawn from before tuning: one small class a file, fitted in float64."""
