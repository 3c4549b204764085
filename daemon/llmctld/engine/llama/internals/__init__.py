"""llama.cpp as a library: devices, buffers, crashing kernels, log lines."""
