/* Makes llama.cpp's AMX kernels work: forced into every file of its build by -include.
 *
 * AMX needs a tile configuration of 64 bytes, which ldtilecfg loads from memory. GCC's _tile_loadconfig declares only the first
 * 8 bytes as its input, so an optimising compiler drops the stores to the others. The processor then loads what the stack
 * happened to hold, and this or the next tile instruction ends the process. The macro below declares all 64 bytes.
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
