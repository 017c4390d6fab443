/* Event sets: XIDs that the test put into the ring, delivered in order, with a timeout in real time. */
#define _GNU_SOURCE
#include "fake.h"
#include <stdlib.h>
#include <time.h>

#define SET_MAGIC 0x45565453
#define SUPPORTED (nvmlEventTypeSingleBitEccError | nvmlEventTypeDoubleBitEccError | nvmlEventTypeXidCriticalError)

struct nvmlEventSet_st {
    uint32_t magic;
    uint32_t generation;
    uint64_t cursor;
    unsigned long long types[FAKE_MAX_DEVICES];
    nvmlDevice_t handles[FAKE_MAX_DEVICES];
};

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set)
{
    ENTER(nvmlEventSetCreate);
    REQUIRE_POINTER(set);
    *set = calloc(1, sizeof **set);
    REQUIRE(*set != NULL, NVML_ERROR_MEMORY);
    (*set)->magic = SET_MAGIC;
    (*set)->generation = c->generation;
    (*set)->cursor = __atomic_load_n(&c->event_head, __ATOMIC_ACQUIRE);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set)
{
    ENTER_FREE(nvmlEventSetFree);
    REQUIRE(set != NULL && set->magic == SET_MAGIC, NVML_ERROR_INVALID_ARGUMENT);
    set->magic = 0;
    free(set);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t device, unsigned long long *types)
{
    ENTER_DEVICE(nvmlDeviceGetSupportedEventTypes, device);
    REQUIRE_POINTER(types);
    *types = SUPPORTED;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types, nvmlEventSet_t set)
{
    ENTER_DEVICE(nvmlDeviceRegisterEvents, device);
    REQUIRE(set != NULL && set->magic == SET_MAGIC, NVML_ERROR_INVALID_ARGUMENT);
    REQUIRE((types & ~(unsigned long long)SUPPORTED) == 0, NVML_ERROR_NOT_SUPPORTED);
    set->types[t.index] |= types;
    set->handles[t.index] = device;
    return NVML_SUCCESS;
}

/* The next event that the set asked for; false when there is none yet. */
static bool next(struct fake_Control *c, nvmlEventSet_t set, nvmlEventData_t *data)
{
    uint64_t head = __atomic_load_n(&c->event_head, __ATOMIC_ACQUIRE);
    if (head - set->cursor > FAKE_MAX_EVENTS) set->cursor = head - FAKE_MAX_EVENTS;
    while (set->cursor < head) {
        const struct fake_Event *event = &c->events[set->cursor++ % FAKE_MAX_EVENTS];
        if (!(set->types[event->device] & event->type)) continue;
        data->device = set->handles[event->device];
        data->eventType = event->type;
        data->eventData = event->data;
        data->gpuInstanceId = event->gi;
        data->computeInstanceId = event->ci;
        return true;
    }
    return false;
}

/* As nvml.h has it, a wait fails at once while a registered GPU is off the bus: who waits in a loop must pause. */
static bool any_lost(const struct fake_Control *c, const struct nvmlEventSet_st *set)
{
    for (unsigned int i = 0; i < c->device_count; i++) {
        if (set->types[i] != 0 && (c->devices[i].lost || !c->devices[i].present)) return true;
    }
    return false;
}

static int64_t real_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout_ms)
{
    int64_t deadline = real_now() + (int64_t)timeout_ms * 1000000;
    ENTER(nvmlEventSetWait_v2);
    REQUIRE(set != NULL && set->magic == SET_MAGIC && data != NULL, NVML_ERROR_INVALID_ARGUMENT);
    for (;;) {
        uint32_t seen = __atomic_load_n(&c->wake, __ATOMIC_SEQ_CST);
        int64_t left;
        nvmlReturn_t state = fake_state(c);
        REQUIRE(state == NVML_SUCCESS, state);
        REQUIRE(set->generation == c->generation, NVML_ERROR_INVALID_ARGUMENT);
        if (next(c, set, data)) return NVML_SUCCESS;
        REQUIRE(!any_lost(c, set), NVML_ERROR_GPU_IS_LOST);
        left = deadline - real_now();
        REQUIRE(left > 0, NVML_ERROR_TIMEOUT);
        fake_wait_for_change(c, seen, left < INT64_C(1000000000) ? left : INT64_C(1000000000));
    }
}
