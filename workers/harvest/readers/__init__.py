"""Reading states of a model: causal language models through the engine, and encoder-decoders."""
