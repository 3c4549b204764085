/* Loads a tile configuration as llama.cpp does (ggml-cpu/amx/mmq.cpp), and multiplies two tiles; compiled with and without amx_tile_config.h.
 *
 * Prints `config same` or `config other`, depending on what the processor has got of the 64 bytes, then `product right` or `product wrong`.
 */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct config {
    uint8_t palette, start_row, reserved[14];
    uint16_t colsb[16];
    uint8_t rows[16];
};
static int8_t left[16][32], right[8][64];
static int32_t found[16][16];

/* So that what the compiler does not store is seen: the stack holds no zeros by chance. */
static __attribute__((noinline)) void litter(void) {
    volatile uint8_t rubbish[4096];
    for (size_t i = 0; i < sizeof rubbish; i++)
        rubbish[i] = 0xff;
}

static __attribute__((noinline)) void configure(void) {
    _Alignas(64) struct config tiles = {0};
    tiles.palette = 1;
    for (int tile = 0; tile < 8; tile++) {
        tiles.rows[tile] = tile < 2 ? 8 : 16;
        tiles.colsb[tile] = tile == 2 || tile == 3 ? 32 : 64;
    }
    _tile_loadconfig(&tiles);
}

static int32_t exact(int row, int column) {
    int32_t sum = 0;
    for (int k = 0; k < 32; k++)
        sum += left[row][k] * right[k / 4][4 * column + k % 4];
    return sum;
}

int main(void) {
    static const uint8_t meant[64] = {
        1, [16] = 64, [18] = 64, [20] = 32, [22] = 32, [24] = 64, [26] = 64, [28] = 64, [30] = 64,
        [48] = 8, 8, 16, 16, 16, 16, 16, 16,
    };
    struct { char bytes[64]; } got;
    int wrong = 0;
    for (int i = 0; i < 512; i++) {
        left[i / 32][i % 32] = (int8_t)(i * 37 + 11);
        right[i / 64][i % 64] = (int8_t)(i * 53 - 90);
    }
    if (syscall(SYS_arch_prctl, 0x1023, 18) != 0) /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
        return 3;
    litter();
    configure();
    __asm__ volatile("sttilecfg %0" : "=m"(got));
    puts(memcmp(&got, meant, 64) == 0 ? "config same" : "config other");
    fflush(stdout);
    _tile_loadd(2, left, 32);
    _tile_loadd(0, right, 64);
    _tile_zero(4);
    _tile_dpbssd(4, 2, 0);
    _tile_stored(4, found, 64);
    for (int i = 0; i < 256; i++)
        wrong += found[i / 16][i % 16] != exact(i / 16, i % 16);
    puts(wrong == 0 ? "product right" : "product wrong");
    return 0;
}
