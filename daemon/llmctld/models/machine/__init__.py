"""The machine: memory, processors, the installed build of llama.cpp."""
