"""A GGUF file computed by llama.cpp."""
