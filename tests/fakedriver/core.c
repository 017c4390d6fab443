/* The library's own state, the control block, the clock, tracks over time, and what every call goes through first. */
#define _GNU_SOURCE
#include "fake.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SECOND INT64_C(1000000000)

static struct fake_Control *control;
static char control_path[4096];
static unsigned int init_count;
static uint32_t init_generation;

/* For the Python side: a library and a control block must be of one make before either touches the other. */
uint64_t wattledger_fake_layout_hash(void) { return FAKE_LAYOUT_HASH; }

/* Forgets initialisation and control block, so that one process can hold one fake driver after another. The old
   mapping stays: a thread may still be in a call. */
void wattledger_fake_reset(void)
{
    init_count = 0;
    if (control != NULL) fake_announce(control);
    control = NULL;
    control_path[0] = '\0';
}

/* The writer's half of the sequence lock; the other half is fake_read_begin. */
void wattledger_fake_begin_write(uint32_t *seq) 
{
    __atomic_store_n(seq, *seq | 1, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void wattledger_fake_end_write(uint32_t *seq) { __atomic_store_n(seq, (*seq | 1) + 1, __ATOMIC_RELEASE); }

void wattledger_fake_announce(void *block) { fake_announce(block); }

static nvmlReturn_t refuse(const char *path, const char *why)
{
    fprintf(stderr, "fake libnvidia-ml.so.1: control file %s: %s\n", path, why);
    return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
}

static nvmlReturn_t map_control(void)
{
    const char *path = getenv("WATTLEDGER_FAKE_NVML");
    struct stat status;
    struct fake_Control *block;
    int fd;

    if (path == NULL || strlen(path) >= sizeof control_path) return refuse("-", "WATTLEDGER_FAKE_NVML is not set");
    if (control != NULL && strcmp(path, control_path) == 0) return NVML_SUCCESS;
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return refuse(path, strerror(errno));
    if (fstat(fd, &status) != 0 || status.st_size != (off_t)sizeof *block) {
        close(fd);
        return refuse(path, "its size is not that of this library's layout");
    }
    block = mmap(NULL, sizeof *block, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (block == MAP_FAILED) return refuse(path, strerror(errno));
    if (block->magic != FAKE_MAGIC || block->layout_hash != FAKE_LAYOUT_HASH || block->size != sizeof *block) {
        munmap(block, sizeof *block);
        return refuse(path, "it was written for another layout than this library's");
    }
    control = block;
    init_count = 0;
    strcpy(control_path, path);
    return NVML_SUCCESS;
}

struct fake_Control *fake_control(void) { return control; }

int64_t fake_now(const struct fake_Control *c)
{
    struct timespec now;
    if (c->manual_clock) return __atomic_load_n(&c->now_ns, __ATOMIC_ACQUIRE);
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

uint64_t fake_wall_us(const struct fake_Control *c, int64_t at_ns)
{
    return (uint64_t)(at_ns + c->wall_offset_ns) / 1000;
}

/* Waits until somebody announces a change after `seen` was read, at most for the time given (real time). */
void fake_wait_for_change(struct fake_Control *c, uint32_t seen, int64_t timeout_ns)
{
    struct timespec limit = { timeout_ns / NS_PER_SECOND, timeout_ns % NS_PER_SECOND };
    syscall(SYS_futex, &c->wake, FUTEX_WAIT, seen, &limit, NULL, 0);
}

void fake_announce(struct fake_Control *c)
{
    __atomic_fetch_add(&c->wake, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &c->wake, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* Tracks. A writer makes the sequence odd while it works; a reader takes what it read only if nothing moved. */
uint32_t fake_read_begin(const struct fake_Device *d)
{
    uint32_t seq = __atomic_load_n(&d->seq, __ATOMIC_ACQUIRE);
    for (int tries = 0; (seq & 1) && tries < 1000000; tries++) { /* bounded: a killed writer must not hang readers */
        sched_yield();
        seq = __atomic_load_n(&d->seq, __ATOMIC_ACQUIRE);
    }
    return seq;
}

bool fake_read_retry(const struct fake_Device *d, uint32_t seq)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return !(seq & 1) && __atomic_load_n(&d->seq, __ATOMIC_RELAXED) != seq;
}

static u128 wide(const uint64_t parts[2]) { return ((u128)parts[1] << 64) | parts[0]; }

/* The step in force at `*at`, which is folded back into the loop; NULL before the first. */
static const struct fake_Step *locate(const struct fake_Device *d, const struct fake_Track *track, int64_t *at,
                                      u128 *laps)
{
    const struct fake_Step *steps = &d->steps[track->first];
    uint32_t low = 0, high = track->count;
    *laps = 0;
    if (track->loop_period_ns > 0 && *at >= track->loop_start_ns) {
        int64_t since = *at - track->loop_start_ns;
        *laps = (u128)(since / track->loop_period_ns) * wide(track->loop_cum);
        *at = track->loop_start_ns + since % track->loop_period_ns;
    }
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (steps[middle].start_ns <= *at) low = middle + 1;
        else high = middle;
    }
    return low == 0 ? NULL : &steps[low - 1];
}

u128 fake_cum_unlocked(const struct fake_Device *d, unsigned int track, int64_t at_ns)
{
    u128 laps;
    const struct fake_Step *step = locate(d, &d->tracks[track], &at_ns, &laps);
    if (step == NULL) return d->tracks[track].count > 0 ? wide(d->steps[d->tracks[track].first].cum) : 0;
    return laps + wide(step->cum) + (u128)step->value * (u128)(at_ns - step->start_ns);
}

u128 fake_cum(const struct fake_Device *d, unsigned int track, int64_t at_ns)
{
    u128 result;
    uint32_t seq;
    do {
        seq = fake_read_begin(d);
        result = fake_cum_unlocked(d, track, at_ns);
    } while (fake_read_retry(d, seq));
    return result;
}

uint64_t fake_value(const struct fake_Device *d, unsigned int track, int64_t at_ns)
{
    uint64_t result;
    uint32_t seq;
    do {
        u128 laps;
        int64_t at = at_ns;
        const struct fake_Step *step;
        seq = fake_read_begin(d);
        step = locate(d, &d->tracks[track], &at, &laps);
        result = step == NULL ? 0 : step->value;
    } while (fake_read_retry(d, seq));
    return result;
}

uint64_t fake_mean(const struct fake_Device *d, unsigned int track, int64_t at_ns, int64_t window_ns)
{
    u128 result;
    uint32_t seq;
    if (window_ns <= 0) return fake_value(d, track, at_ns);
    do {
        seq = fake_read_begin(d);
        result = fake_cum_unlocked(d, track, at_ns) - fake_cum_unlocked(d, track, at_ns - window_ns);
    } while (fake_read_retry(d, seq));
    return (uint64_t)(result / (u128)window_ns);
}

/* Integral since driver load or counter reset. */
static u128 since_origin(const struct fake_Device *d, unsigned int signal, int64_t at_ns)
{
    u128 total = fake_cum_unlocked(d, fake_device_track(signal), at_ns), origin = wide(&d->origins[2 * signal]);
    return total > origin ? total - origin : 0;
}

u128 fake_since_origin(const struct fake_Device *d, unsigned int signal, int64_t at_ns)
{
    u128 result;
    uint32_t seq;
    do {
        seq = fake_read_begin(d);
        result = since_origin(d, signal, at_ns);
    } while (fake_read_retry(d, seq));
    return result;
}

uint64_t fake_energy_mj(const struct fake_Control *c, const struct fake_Device *d)
{
    uint64_t result;
    uint32_t seq;
    do {
        int64_t at;
        u128 total;
        seq = fake_read_begin(d);
        at = fake_now(c); /* inside: what is read must not be older than the script it is read from */
        if (d->energy_frozen && at > d->energy_frozen_ns) at = d->energy_frozen_ns;
        if (d->energy_update_ns > 0 && at > d->load_ns) at -= (at - d->load_ns) % d->energy_update_ns;
        total = since_origin(d, S_power_mw, at);
        result = d->energy_offset_mj + (uint64_t)(total / NS_PER_SECOND);
    } while (fake_read_retry(d, seq));
    return result;
}

unsigned int fake_percent(uint64_t ppm) { return (unsigned int)((ppm + 5000) / 10000); }

/* Handles: generation of the driver, device, MIG slot and its generation. Never a pointer; a stale one is refused. */
nvmlDevice_t fake_handle(const struct fake_Control *c, unsigned int device, int slot)
{
    uint64_t bits = ((uint64_t)(c->generation & 0xff) << 48) | ((uint64_t)(device + 1) << 40);
    if (slot >= 0) bits |= ((uint64_t)(slot + 1) << 32) | c->devices[device].mig[slot].generation;
    return (nvmlDevice_t)(uintptr_t)bits;
}

static bool resolve(struct fake_Control *c, nvmlDevice_t handle, struct target *t)
{
    uint64_t bits = (uint64_t)(uintptr_t)handle;
    unsigned int device = (unsigned int)(bits >> 40) & 0xff, slot = (unsigned int)(bits >> 32) & 0xff;
    if (bits >> 48 != (c->generation & 0xff) || device == 0 || device > c->device_count) return false;
    t->c = c;
    t->index = device - 1;
    t->d = &c->devices[device - 1];
    t->m = NULL;
    t->slot = 0;
    if (slot == 0) return (uint32_t)bits == 0;
    if (slot > FAKE_MAX_MIG) return false;
    t->slot = slot - 1;
    t->m = &t->d->mig[slot - 1];
    return t->m->present && t->m->generation == (uint32_t)bits;
}

nvmlReturn_t fake_state(struct fake_Control *c)
{
    if (init_count == 0 || c == NULL) return NVML_ERROR_UNINITIALIZED;
    if (!__atomic_load_n(&c->loaded, __ATOMIC_ACQUIRE)) return NVML_ERROR_DRIVER_NOT_LOADED;
    return init_generation == c->generation ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED;
}

/* Hangs, delays and answers that the test put in: one word, zero nearly always. */
static nvmlReturn_t obey(struct fake_Control *c, const uint64_t *cell)
{
    uint64_t word = __atomic_load_n(cell, __ATOMIC_ACQUIRE);
    if (word == 0) return NVML_SUCCESS;
    while (word & FAKE_HANG_BIT) {
        uint32_t seen = __atomic_load_n(&c->wake, __ATOMIC_SEQ_CST);
        word = __atomic_load_n(cell, __ATOMIC_SEQ_CST);
        if (word & FAKE_HANG_BIT) fake_wait_for_change(c, seen, NS_PER_SECOND / 10);
    }
    if (word >> FAKE_DELAY_SHIFT) {
        int64_t delay = (int64_t)(word >> FAKE_DELAY_SHIFT) * 1000;
        struct timespec pause = { delay / NS_PER_SECOND, delay % NS_PER_SECOND };
        nanosleep(&pause, NULL);
    }
    return (nvmlReturn_t)(word & 0xffff);
}

void fake_count(enum fake_function fn)
{
    struct fake_Control *c = control;
    if (c != NULL) __atomic_fetch_add(&c->calls[fn], 1, __ATOMIC_RELAXED);
}

nvmlReturn_t fake_enter(enum fake_function fn, struct fake_Control **c)
{
    nvmlReturn_t answer;
    *c = control;
    fake_count(fn);
    answer = fake_state(*c);
    return answer != NVML_SUCCESS ? answer : obey(*c, &(*c)->cells[fn]);
}

nvmlReturn_t fake_admit(enum fake_function fn, nvmlDevice_t handle, bool mig_allowed, struct target *t)
{
    nvmlReturn_t answer;
    if (!resolve(t->c, handle, t)) return NVML_ERROR_INVALID_ARGUMENT;
    __atomic_fetch_add(&t->d->calls[fn], 1, __ATOMIC_RELAXED);
    answer = obey(t->c, &t->d->cells[fn]);
    if (answer != NVML_SUCCESS) return answer;
    if (t->d->lost || !t->d->present) return NVML_ERROR_GPU_IS_LOST;
    return t->m != NULL && !mig_allowed ? NVML_ERROR_NOT_SUPPORTED : fake_state(t->c);
}

nvmlReturn_t fake_enter_device(enum fake_function fn, nvmlDevice_t handle, bool mig_allowed, struct target *t)
{
    nvmlReturn_t answer = fake_enter(fn, &t->c);
    return answer != NVML_SUCCESS ? answer : fake_admit(fn, handle, mig_allowed, t);
}

nvmlReturn_t fake_setter(enum fake_function fn)
{
    fake_count(fn);
    return NVML_ERROR_NO_PERMISSION;
}

/* Initialisation. */
nvmlReturn_t fake_initialise(enum fake_function fn)
{
    nvmlReturn_t answer = map_control();
    if (answer != NVML_SUCCESS) return answer;
    fake_count(fn);
    answer = obey(control, &control->cells[fn]);
    if (answer != NVML_SUCCESS) return answer;
    if (!control->loaded) return NVML_ERROR_DRIVER_NOT_LOADED;
    init_generation = control->generation;
    init_count++;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags)
{
    (void)flags;
    ENTER_INIT(nvmlInitWithFlags);
}

nvmlReturn_t nvmlInit_v2(void)
{
    ENTER_INIT(nvmlInit_v2);
}

nvmlReturn_t nvmlShutdown(void)
{
    ENTER_FREE(nvmlShutdown);
    REQUIRE(init_count > 0, NVML_ERROR_UNINITIALIZED);
    init_count--;
    fake_announce(control);
    return NVML_SUCCESS;
}
