"""The hub's handle on an engine process, and what is learned from engines that died."""
