"""The continuous batch: admission, input and output processing, sampling, and one forward a step."""
