"""The one attention path: kernels, metadata of a forward, and the key/value cache."""
