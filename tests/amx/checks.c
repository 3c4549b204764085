/* What the emulator refuses, what it computes and what it passes on: a line `NAME OUTCOME` for each case, which runs in a child of its own.
 *
 * OUTCOME is `right`, `wrong`, or the number of the signal that ended the child. It is compiled with amx_tile_config.h.
 */
#include <immintrin.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct config {
    uint8_t palette, start_row, reserved[14];
    uint16_t colsb[16];
    uint8_t rows[16];
};
/* Tiles 4 (16 x 16), 2 (16 x 8) and 0 (8 x 16) fit each other, in groups of four bytes; 1 and 3 do not fit them. */
static const struct config GOOD = {1, 0, {0}, {64, 64, 32, 30, 64}, {8, 4, 16, 16, 16}};
static uint8_t left[16][32], right[8][64], back[16][64];
static struct config global;

static int loads(struct config config) {
    _tile_loadconfig(&config);
    return 1;
}
static struct config changed(size_t offset, uint8_t value) {
    struct config config = GOOD;
    ((uint8_t *)&config)[offset] = value;
    return config;
}
static int set(size_t offset, uint8_t value) {
    return loads(changed(offset, value));
}

static int palette_2(void) { return set(0, 2); }
static int reserved_2(void) { return set(2, 1); }
static int reserved_15(void) { return set(15, 1); }
static int tile_8(void) { return set(32, 1); }
static int last_byte(void) { return set(63, 1); }
static int wide_row(void) { return set(16, 65); }
static int wide_row_high_byte(void) { return set(17, 1); }
static int many_rows(void) { return set(48, 17); }
static int rows_without_bytes(void) { return set(16, 0); }
static int bytes_without_rows(void) { return set(48, 0); }
static int good(void) { return loads(GOOD); }
static int load_unconfigured(void) { _tile_loadd(0, right, 64); return 1; }
static int zero_unconfigured(void) { _tile_zero(4); return 1; }
static int after_release(void) { loads(GOOD); _tile_release(); _tile_zero(4); return 1; }
static int palette_0(void) { loads(GOOD); loads((struct config){0}); _tile_zero(4); return 1; }
static int unused_tile(void) { loads(GOOD); _tile_zero(7); return 1; }
static int odd_bytes(void) { loads(GOOD); _tile_loadd(3, left, 32); return 1; }
static int start_beyond(void) { set(1, 8); _tile_loadd(0, right, 64); return 1; }
static int same_tile(void) { loads(GOOD); __asm__ volatile(".byte 0xc4, 0xe2, 0x7b, 0x5e, 0xe4"); return 1; } /* tdpbssd tmm4, tmm4, tmm0 */
static int unfit_rows(void) { loads(GOOD); _tile_dpbssd(4, 2, 1); return 1; }
static int unfit_bytes(void) { loads(GOOD); _tile_dpbssd(2, 4, 0); return 1; }
static int no_memory(void) { loads(GOOD); _tile_loadd(0, (void *)8, 64); return 1; }
static int other_instruction(void) { __asm__ volatile("ud2"); return 1; }
static int sent(void) { raise(SIGILL); return 1; }

static volatile sig_atomic_t heard;
static void hear(int number) { heard = number; _exit(heard == SIGILL && signal(SIGILL, SIG_DFL) == hear ? 0 : 1); }
static int own_handler(void) { signal(SIGILL, hear); __asm__ volatile("ud2"); return 0; }
static int own_handler_passed(void) { signal(SIGILL, hear); loads(GOOD); _tile_zero(4); return 1; }

/* Every form of an address: on the stack, behind the instruction pointer, with an index. */
static int addresses(void) {
    struct config here;
    uintptr_t table = (uintptr_t)&here - 24, before = (uintptr_t)right - 64;
    global = GOOD;
    _tile_loadconfig(&global);
    __asm__ volatile("sttilecfg (%1,%2,8)" : "=m"(here) : "r"(table), "r"(3L));
    int same = memcmp(&here, &GOOD, 64) == 0;
    _tile_release();
    __asm__ volatile("sttilecfg %0" : "=m"(global));
    same &= memcmp(&global, &(struct config){0}, 64) == 0;
    __asm__ volatile("ldtilecfg -1024(%0,%1)" : : "r"(&here), "r"(1024L), "m"(here));
    __asm__ volatile("tileloadd 64(%0), %%tmm0" : : "r"(before) : "memory"); /* no index: each row is the first */
    _tile_stored(0, back, 64);
    for (int row = 0; row < 8; row++)
        same &= memcmp(back[row], right[0], 64) == 0;
    return same;
}

/* A row that is not configured reads as zero, and is not stored. */
static int start_row(void) {
    memset(back, 7, sizeof back);
    set(1, 6);
    _tile_loadd(0, right, 64);
    _tile_stored(0, back, 64);
    static const uint8_t zeros[6 * 64], sevens[64] = {[0 ... 63] = 7};
    return !memcmp(back, zeros, sizeof zeros) && !memcmp(back[6], right[6], 128) && !memcmp(back[8], sevens, 64);
}

#define PRODUCT(name, left_type, right_type)                                                      \
    static int name(void) {                                                                       \
        int32_t found[16][16], begun[16][16];                                                     \
        for (int i = 0; i < 256; i++)                                                             \
            begun[i / 16][i % 16] = INT32_MAX - 40000 * i; /* sums go round, none is saturated */ \
        loads(GOOD);                                                                              \
        _tile_loadd(2, left, 32);                                                                 \
        _tile_stream_loadd(0, right, 64);                                                         \
        _tile_loadd(4, begun, 64);                                                                \
        _tile_##name(4, 2, 0);                                                                    \
        _tile_stored(4, found, 64);                                                               \
        for (int m = 0; m < 16; m++)                                                              \
            for (int n = 0; n < 16; n++) {                                                        \
                uint32_t sum = (uint32_t)begun[m][n];                                             \
                for (int k = 0; k < 32; k++)                                                      \
                    sum += (uint32_t)((left_type)left[m][k] * (right_type)right[k / 4][4 * n + k % 4]); \
                if ((uint32_t)found[m][n] != sum)                                                 \
                    return 0;                                                                     \
            }                                                                                     \
        return 1;                                                                                 \
    }
PRODUCT(dpbssd, int8_t, int8_t)
PRODUCT(dpbsud, int8_t, uint8_t)
PRODUCT(dpbusd, uint8_t, int8_t)
PRODUCT(dpbuud, uint8_t, uint8_t)

static uint16_t small(int number) { /* a whole number below 128, as a bfloat16: sums of products are exact */
    float value = (float)number;
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)(bits >> 16);
}
static int dpbf16ps(void) {
    uint16_t a[16][16], b[8][32];
    float found[16][16];
    for (int i = 0; i < 256; i++) {
        a[i / 16][i % 16] = small(i % 11 - 5);
        b[i / 32][i % 32] = small(i % 7 - 3);
    }
    loads(GOOD);
    _tile_zero(4);
    _tile_loadd(2, a, 32);
    _tile_loadd(0, b, 64);
    _tile_dpbf16ps(4, 2, 0);
    _tile_stored(4, found, 64);
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++) {
            int sum = 0;
            for (int k = 0; k < 16; k++)
                sum += ((m * 16 + k) % 11 - 5) * ((k / 2 * 32 + 2 * n + k % 2) % 7 - 3);
            if (found[m][n] != (float)sum)
                return 0;
        }
    return 1;
}

#define CASE(name) {#name, name}
static const struct {
    const char *name;
    int (*run)(void);
} cases[] = {
    CASE(palette_2), CASE(reserved_2), CASE(reserved_15), CASE(tile_8), CASE(last_byte), CASE(wide_row), CASE(wide_row_high_byte),
    CASE(many_rows), CASE(rows_without_bytes), CASE(bytes_without_rows), CASE(good), CASE(load_unconfigured),
    CASE(zero_unconfigured), CASE(after_release), CASE(palette_0), CASE(unused_tile), CASE(odd_bytes), CASE(start_beyond),
    CASE(same_tile), CASE(unfit_rows), CASE(unfit_bytes), CASE(no_memory), CASE(other_instruction), CASE(sent), CASE(own_handler),
    CASE(own_handler_passed), CASE(addresses), CASE(start_row), CASE(dpbssd), CASE(dpbsud), CASE(dpbusd), CASE(dpbuud), CASE(dpbf16ps),
};

int main(void) {
    for (int i = 0; i < 512; i++) {
        left[i / 32][i % 32] = (uint8_t)(i * 37 + 11);
        right[i / 64][i % 64] = (uint8_t)(i * 53 - 90);
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status;
        pid_t child = fork();
        if (child == 0)
            _exit(cases[i].run() ? 0 : 1);
        waitpid(child, &status, 0);
        if (WIFSIGNALED(status))
            printf("%s %d\n", cases[i].name, WTERMSIG(status));
        else
            printf("%s %s\n", cases[i].name, WEXITSTATUS(status) == 0 ? "right" : "wrong");
        fflush(stdout);
    }
    return 0;
}
