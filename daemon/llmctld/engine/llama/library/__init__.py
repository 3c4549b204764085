"""llama.cpp as a library: devices, buffers, kernels that crash, and what it logs."""
