"""Squared norms of per-example gradients that are never written to memory."""
