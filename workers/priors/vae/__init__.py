"""The variational autoencoder of the ``vae`` prior: network, training, latent distribution, collapse measures."""
