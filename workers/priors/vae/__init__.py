"""The variational autoencoder of the ``vae`` prior."""
