"""The points that priors are fitted to: vocabulary, dataset embeddings, activations, tuned prompts."""
