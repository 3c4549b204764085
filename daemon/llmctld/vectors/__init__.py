"""The nearest of many vectors, each behind its wall. Only this room imports faiss and numpy in the hub, on first use."""
