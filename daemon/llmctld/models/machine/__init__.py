"""What this machine has: memory, processors, the build of llama.cpp."""
