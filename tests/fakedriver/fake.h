/* What the parts of the fake driver share: the mapped control block, entry into a call, tracks over time. */
#ifndef WATTLEDGER_FAKE_H
#define WATTLEDGER_FAKE_H

#include <nvml.h>
#include <stdbool.h>
#include <string.h>
#include "layout.h"

typedef unsigned __int128 u128;

/* The control block, the device and, where the handle names one, the MIG instance that a call is about. */
struct target {
    struct fake_Control *c;
    struct fake_Device *d;
    struct fake_MigSlot *m;
    unsigned int index; /* of the device */
    unsigned int slot;  /* of the MIG instance */
};

struct fake_Control *fake_control(void);
nvmlReturn_t fake_enter(enum fake_function fn, struct fake_Control **c);
nvmlReturn_t fake_enter_device(enum fake_function fn, nvmlDevice_t handle, bool mig_allowed, struct target *t);
nvmlReturn_t fake_admit(enum fake_function fn, nvmlDevice_t handle, bool mig_allowed, struct target *t);
nvmlReturn_t fake_initialise(enum fake_function fn);
nvmlReturn_t fake_state(struct fake_Control *c);
void fake_count(enum fake_function fn);
nvmlReturn_t fake_setter(enum fake_function fn);
void fake_wait_for_change(struct fake_Control *c, uint32_t seen, int64_t timeout_ns);
void fake_announce(struct fake_Control *c);
nvmlDevice_t fake_handle(const struct fake_Control *c, unsigned int device, int slot);

int64_t fake_now(const struct fake_Control *c);
uint64_t fake_wall_us(const struct fake_Control *c, int64_t at_ns);

uint32_t fake_read_begin(const struct fake_Device *d);
bool fake_read_retry(const struct fake_Device *d, uint32_t seq);

/* Tracks: of the device, of a MIG instance, of a process. */
static inline unsigned int fake_device_track(unsigned int signal) { return signal; }
static inline unsigned int fake_mig_track(unsigned int slot, unsigned int signal)
{
    return FAKE_SIGNALS * (1 + slot) + signal;
}
static inline unsigned int fake_process_track(unsigned int slot) { return FAKE_SIGNALS * (1 + FAKE_MAX_MIG) + slot; }
uint64_t fake_value(const struct fake_Device *d, unsigned int track, int64_t at_ns);
u128 fake_cum(const struct fake_Device *d, unsigned int track, int64_t at_ns);
u128 fake_cum_unlocked(const struct fake_Device *d, unsigned int track, int64_t at_ns);
u128 fake_since_origin(const struct fake_Device *d, unsigned int signal, int64_t at_ns);
uint64_t fake_mean(const struct fake_Device *d, unsigned int track, int64_t at_ns, int64_t window_ns);

uint64_t fake_energy_mj(const struct fake_Control *c, const struct fake_Device *d);
unsigned int fake_percent(uint64_t ppm);
bool fake_process_alive(const struct fake_ProcessSlot *p, int64_t at_ns);

/* The name of each function stands in its ENTER once; build.py reads the list of functions from there. */
#define ENTER(fn) \
    struct fake_Control *c; \
    do { \
        nvmlReturn_t entered = fake_enter(FN_##fn, &c); \
        if (entered != NVML_SUCCESS) return entered; \
        (void)c; \
    } while (0)
#define ENTER_WITH(fn, handle, mig) \
    struct target t; \
    do { \
        nvmlReturn_t entered = fake_enter_device(FN_##fn, handle, mig, &t); \
        if (entered != NVML_SUCCESS) return entered; \
    } while (0)
#define ENTER_DEVICE(fn, handle) ENTER_WITH(fn, handle, false)
#define ENTER_ANY(fn, handle) ENTER_WITH(fn, handle, true)
#define ENTER_FREE(fn) fake_count(FN_##fn)
#define ENTER_INIT(fn) return fake_initialise(FN_##fn)
#define ENTER_SETTER(fn) return fake_setter(FN_##fn)
#define REQUIRE(condition, code) do { if (!(condition)) return (code); } while (0)
#define REQUIRE_POINTER(pointer) REQUIRE((pointer) != NULL, NVML_ERROR_INVALID_ARGUMENT)

#endif
