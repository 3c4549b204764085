/* Forced into the build of llama.cpp (-include): loads AMX tile configurations so that the compiler keeps them.
 *
 * GCC's _tile_loadconfig says that it reads the 8 bytes of a pointer, where the processor reads 64: with optimisation the
 * stores to the others are dropped, the tiles have no size, and the next instruction on them ends the process. Here the
 * whole 64 bytes are an operand.
 */
#if defined(__x86_64__) && defined(__AMX_TILE__) && defined(__GNUC__)
#include <immintrin.h>

typedef struct {
    char bytes[64];
} __attribute__((__may_alias__)) llmctl_tile_config;

static inline __attribute__((__always_inline__)) void llmctl_tile_loadconfig(const void *config) {
    __asm__ volatile("ldtilecfg %0" : : "m"(*(const llmctl_tile_config *)config));
}

#undef _tile_loadconfig
#define _tile_loadconfig llmctl_tile_loadconfig
#endif
