/* Intel AMX in software, for x86-64 Linux machines whose processor has none: a library for LD_PRELOAD.
 *
 *     gcc -O3 -shared -fPIC -o emulator.so emulator.c -lm
 *     LD_PRELOAD=./emulator.so AMX_COUNTS=counts program
 *
 * A processor without AMX raises SIGILL at each AMX instruction. The handler here decodes the instruction, executes it on
 * tiles that belong to the thread, and goes on behind it. The checks are those of the processor (Intel SDM, volume 2, the
 * instructions' pages and "Intel AMX Instruction Exception Classes"): LDTILECFG of an invalid configuration raises SIGSEGV
 * (#GP); an instruction on tiles without a configuration, or whose shapes do not fit, raises SIGILL (#UD). The program's
 * request for permission to use the tiles (ARCH_REQ_XCOMP_PERM) is granted. A handler that the program installs for SIGILL
 * is called for every other cause.
 *
 * AMX_COUNTS names a file of 12 numbers of 64 bits: how often each instruction was executed, in the order of `enum name`,
 * by all processes that share the file.
 *
 * What this shows: which instructions a program executes, with which operands, whether they would fault, and what they compute.
 * What it does not show: speed. An instruction takes about a microsecond here, where a processor takes a few nanoseconds.
 * Not emulated: segment and address-size prefixes, tile instructions of later processors (FP16, COMPLEX), threads that block SIGILL.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <xmmintrin.h>

enum name {
    LDTILECFG, STTILECFG, TILERELEASE, TILEZERO, TILELOADD, TILELOADDT1, TILESTORED,
    TDPBSSD, TDPBSUD, TDPBUSD, TDPBUUD, TDPBF16PS, NAMES
};
enum outcome { DONE, UNDEFINED, PROTECTION }; /* as #UD and #GP */
enum { TILES = 8, ROWS = 16, BYTES = 64 };   /* of palette 1 */
enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18, FLUSH_DENORMALS = 0x9fc0 };

struct instruction {
    enum name name;
    int reg, rm, vvvv; /* tile numbers, where they are tiles */
    uint8_t *address;
    intptr_t stride;
    int length;
};

static __thread struct {
    uint8_t palette, start_row, rows[TILES];
    uint16_t colsb[TILES];
    uint8_t data[TILES][ROWS][BYTES];
} tiles __attribute__((tls_model("initial-exec")));

static uint64_t own_counts[NAMES], *counts = own_counts;
static struct sigaction chained; /* what the program wants done about SIGILL */

/* ---- decoding ------------------------------------------------------------------------------------------------------- */

static uintptr_t value(const greg_t *registers, int number) {
    static const int places[16] = {
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
        REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
    };
    return (uintptr_t)registers[places[number]];
}

/* Address and stride of a memory operand whose ModRM byte is at `at`; returns the byte behind it. An instruction on a whole
 * tile takes the index as its stride; LDTILECFG and STTILECFG add it to the address. */
static const uint8_t *operand(const uint8_t *at, int x, int b, const greg_t *registers, int strided, struct instruction *it) {
    int mod = at[0] >> 6, base = at[0] & 7;
    const uint8_t *next = at + 1;
    uintptr_t address = 0;
    int32_t offset = 0;
    int wide = mod == 2, relative = 0;
    it->stride = 0;
    if (base == 4) {
        int index = (next[0] >> 3 & 7) | x << 3, scale = next[0] >> 6;
        base = next[0] & 7;
        if (index != 4)
            it->stride = (intptr_t)(value(registers, index) << scale);
        next++;
    } else {
        relative = mod == 0 && base == 5;
    }
    if (mod == 0 && base == 5)
        wide = 1;
    else
        address = value(registers, base | b << 3);
    if (wide) {
        memcpy(&offset, next, 4);
        next += 4;
    } else if (mod == 1) {
        offset = (int8_t)*next++;
    }
    address += relative ? (uintptr_t)next : 0;
    it->address = (uint8_t *)(address + (intptr_t)offset + (strided ? 0 : it->stride));
    return next;
}

/* Whether there is an AMX instruction at `at`. */
static int decode(const uint8_t *at, const greg_t *registers, struct instruction *it) {
    static const struct {
        uint8_t opcode, prefix; /* prefix: 0 none, 1 66, 2 F3, 3 F2 */
        int8_t memory, reg, rm; /* reg and rm: -1 any tile */
        enum name name;
    } table[] = {
        {0x49, 0, 1, 0, -1, LDTILECFG}, {0x49, 1, 1, 0, -1, STTILECFG}, {0x49, 0, 0, 0, 0, TILERELEASE}, {0x49, 3, 0, -1, 0, TILEZERO},
        {0x4b, 3, 1, -1, 4, TILELOADD}, {0x4b, 1, 1, -1, 4, TILELOADDT1}, {0x4b, 2, 1, -1, 4, TILESTORED},
        {0x5e, 3, 0, -1, -1, TDPBSSD}, {0x5e, 2, 0, -1, -1, TDPBSUD}, {0x5e, 1, 0, -1, -1, TDPBUSD}, {0x5e, 0, 0, -1, -1, TDPBUUD},
        {0x5c, 2, 0, -1, -1, TDPBF16PS},
    };
    if (at[0] != 0xc4 || (at[1] & 0x9f) != 0x82 || (at[2] & 0x84) != 0) /* VEX.128.0F38.W0, and a tile number below 8 */
        return 0;
    int memory = at[4] >> 6 != 3, reg = at[4] >> 3 & 7, rm = at[4] & 7;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (at[3] != table[i].opcode || (at[2] & 3) != table[i].prefix || memory != table[i].memory)
            continue;
        if ((table[i].reg >= 0 && reg != table[i].reg) || (table[i].rm >= 0 && rm != table[i].rm))
            continue;
        *it = (struct instruction){.name = table[i].name, .reg = reg, .rm = rm, .vvvv = ~at[2] >> 3 & 15};
        const uint8_t *end = at + 5;
        if (memory)
            end = operand(at + 4, ~at[1] >> 6 & 1, ~at[1] >> 5 & 1, registers, it->name >= TILELOADD, it);
        it->length = (int)(end - at);
        return it->name >= TDPBSSD ? it->vvvv < TILES && (at[1] & 0x20) : it->vvvv == 0;
    }
    return 0;
}

/* ---- executing ------------------------------------------------------------------------------------------------------ */

static enum outcome load_config(const uint8_t *bytes) {
    uint8_t config[BYTES];
    uint16_t colsb[TILES];
    memcpy(config, bytes, BYTES);
    memcpy(colsb, config + 16, sizeof colsb);
    const uint8_t *rows = config + 48;
    if (config[0] > 1)
        return PROTECTION;
    if (config[0] == 0) {
        memset(&tiles, 0, sizeof tiles);
        return DONE;
    }
    for (int i = 2; i < BYTES; i++)
        if (config[i] && (i < 16 || (i >= 32 && i < 48) || i >= 56))
            return PROTECTION;
    for (int tile = 0; tile < TILES; tile++)
        if (colsb[tile] > BYTES || rows[tile] > ROWS || !colsb[tile] != !rows[tile])
            return PROTECTION;
    memset(&tiles, 0, sizeof tiles);
    tiles.palette = config[0];
    tiles.start_row = config[1];
    memcpy(tiles.colsb, colsb, sizeof colsb);
    memcpy(tiles.rows, rows, TILES);
    return DONE;
}

static void store_config(uint8_t *bytes) {
    uint8_t config[BYTES] = {tiles.palette, tiles.start_row};
    memcpy(config + 16, tiles.colsb, sizeof tiles.colsb);
    memcpy(config + 48, tiles.rows, TILES);
    memcpy(bytes, config, BYTES);
}

static int valid(int tile) {
    return tiles.palette != 0 && tiles.rows[tile] != 0;
}

static enum outcome move(const struct instruction *it) {
    int tile = it->reg;
    if (!valid(tile) || tiles.colsb[tile] % 4 != 0 || tiles.start_row >= tiles.rows[tile])
        return UNDEFINED;
    if (it->name != TILESTORED)
        memset(tiles.data[tile][tiles.start_row], 0, (size_t)(ROWS - tiles.start_row) * BYTES);
    for (int row = tiles.start_row; row < tiles.rows[tile]; row++) {
        uint8_t *place = it->address + row * it->stride;
        if (it->name == TILESTORED)
            memcpy(place, tiles.data[tile][row], tiles.colsb[tile]);
        else
            memcpy(tiles.data[tile][row], place, tiles.colsb[tile]);
    }
    tiles.start_row = 0;
    return DONE;
}

static int32_t widened(uint8_t byte, int is_signed) {
    return is_signed ? (int8_t)byte : byte;
}

static void multiply_bytes(const struct instruction *it, int left_signed, int right_signed) {
    for (int m = 0; m < tiles.rows[it->reg]; m++)
        for (int k = 0; k < tiles.colsb[it->rm] / 4; k++)
            for (int n = 0; n < tiles.colsb[it->reg] / 4; n++) {
                const uint8_t *left = tiles.data[it->rm][m] + 4 * k, *right = tiles.data[it->vvvv][k] + 4 * n;
                uint32_t sum;
                memcpy(&sum, tiles.data[it->reg][m] + 4 * n, 4);
                for (int i = 0; i < 4; i++)
                    sum += (uint32_t)(widened(left[i], left_signed) * widened(right[i], right_signed));
                memcpy(tiles.data[it->reg][m] + 4 * n, &sum, 4);
            }
}

static float bfloat(const uint8_t *at) {
    uint32_t bits = (uint32_t)at[0] << 16 | (uint32_t)at[1] << 24;
    float number;
    memcpy(&number, &bits, 4);
    return number;
}

static void multiply_bfloats(const struct instruction *it) {
    _mm_setcsr(FLUSH_DENORMALS); /* the program's own setting comes back when the handler returns */
    for (int m = 0; m < tiles.rows[it->reg]; m++)
        for (int n = 0; n < tiles.colsb[it->reg] / 4; n++) {
            float sum, halves[2] = {0, 0};
            for (int k = 0; k < tiles.colsb[it->rm] / 4; k++)
                for (int i = 0; i < 2; i++)
                    halves[i] = fmaf(bfloat(tiles.data[it->rm][m] + 4 * k + 2 * i), bfloat(tiles.data[it->vvvv][k] + 4 * n + 2 * i), halves[i]);
            memcpy(&sum, tiles.data[it->reg][m] + 4 * n, 4);
            sum += halves[0] + halves[1];
            memcpy(tiles.data[it->reg][m] + 4 * n, &sum, 4);
        }
}

static enum outcome multiply(const struct instruction *it) {
    int to = it->reg, left = it->rm, right = it->vvvv;
    if (to == left || to == right || left == right || !valid(to) || !valid(left) || !valid(right))
        return UNDEFINED;
    if (tiles.colsb[to] % 4 || tiles.colsb[left] % 4 || tiles.colsb[to] != tiles.colsb[right])
        return UNDEFINED;
    if (tiles.rows[to] != tiles.rows[left] || tiles.colsb[left] / 4 != tiles.rows[right])
        return UNDEFINED;
    if (it->name == TDPBF16PS)
        multiply_bfloats(it);
    else
        multiply_bytes(it, it->name == TDPBSSD || it->name == TDPBSUD, it->name == TDPBSSD || it->name == TDPBUSD);
    tiles.start_row = 0;
    return DONE;
}

static enum outcome execute(const struct instruction *it) {
    switch (it->name) {
    case LDTILECFG:
        return load_config(it->address);
    case STTILECFG:
        store_config(it->address);
        return DONE;
    case TILERELEASE:
        memset(&tiles, 0, sizeof tiles);
        return DONE;
    case TILEZERO:
        if (!valid(it->reg))
            return UNDEFINED;
        memset(tiles.data[it->reg], 0, sizeof tiles.data[it->reg]);
        tiles.start_row = 0;
        return DONE;
    case TILELOADD:
    case TILELOADDT1:
    case TILESTORED:
        return move(it);
    default:
        return multiply(it);
    }
}

/* ---- signals and system calls ---------------------------------------------------------------------------------------- */

static int real_sigaction(int number, const struct sigaction *new, struct sigaction *old) {
    static int (*real)(int, const struct sigaction *, struct sigaction *);
    if (!real)
        real = (int (*)(int, const struct sigaction *, struct sigaction *))dlsym(RTLD_NEXT, "sigaction");
    return real(number, new, old);
}

static void send(int number) {
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number);
}

/* A SIGILL that is no AMX instruction's, or of one that the processor would refuse. */
static void pass_on(int number, siginfo_t *info, void *context) {
    struct sigaction wanted = chained;
    int sent = info->si_code <= 0;
    if (wanted.sa_handler == SIG_IGN && sent)
        return;
    if (wanted.sa_handler == SIG_DFL || wanted.sa_handler == SIG_IGN) {
        struct sigaction end = {.sa_handler = SIG_DFL};
        real_sigaction(number, &end, NULL);
        if (sent) /* else the instruction raises it anew */
            send(number);
        return;
    }
    if (wanted.sa_flags & SA_RESETHAND)
        chained = (struct sigaction){.sa_handler = SIG_DFL};
    if (wanted.sa_flags & SA_SIGINFO)
        wanted.sa_sigaction(number, info, context);
    else
        wanted.sa_handler(number);
}

static void handle(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    struct instruction it;
    if (info->si_code <= 0 || !decode((const uint8_t *)registers[REG_RIP], registers, &it)) {
        pass_on(number, info, context);
        return;
    }
    switch (execute(&it)) {
    case DONE:
        __atomic_fetch_add(&counts[it.name], 1, __ATOMIC_RELAXED);
        registers[REG_RIP] += it.length;
        return;
    case PROTECTION:
        send(SIGSEGV); /* it arrives when this handler returns, at the instruction */
        return;
    case UNDEFINED:
        pass_on(number, info, context);
    }
}

int sigaction(int number, const struct sigaction *new, struct sigaction *old) {
    if (number != SIGILL)
        return real_sigaction(number, new, old);
    struct sigaction before = chained;
    if (new)
        chained = *new;
    if (old)
        *old = before;
    return 0;
}

sighandler_t signal(int number, sighandler_t handler) {
    struct sigaction new = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
    return sigaction(number, &new, &old) == 0 ? old.sa_handler : SIG_ERR;
}

long syscall(long number, ...) {
    static long (*real)(long, ...);
    long given[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        given[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_arch_prctl && given[0] == REQUEST_PERMISSION && given[1] == TILE_DATA)
        return 0;
    if (!real)
        real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return real(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("AMX_COUNTS");
    int file = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (file >= 0) {
        if (ftruncate(file, sizeof own_counts) == 0) {
            void *shared = mmap(NULL, sizeof own_counts, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
            if (shared != MAP_FAILED)
                counts = shared;
        }
        close(file);
    }
    struct sigaction own = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTART};
    real_sigaction(SIGILL, &own, &chained);
}
