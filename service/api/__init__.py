"""HTTP routers, one a noun. Nothing here imports torch."""
