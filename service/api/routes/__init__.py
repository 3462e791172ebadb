"""HTTP routers, one a noun."""
