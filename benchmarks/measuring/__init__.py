"""Holding contests between sides, and writing down what came of them."""
