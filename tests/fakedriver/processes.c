/* Processes: who holds a context, and their SM shares as a driver reports them: sampled, late, in whole percent. */
#include "fake.h"

bool fake_process_alive(const struct fake_ProcessSlot *p, int64_t at_ns)
{
    return p->pid != 0 && p->start_ns <= at_ns && at_ns < p->end_ns;
}

static nvmlReturn_t list(const struct target *t, unsigned int kind, unsigned int *count, nvmlProcessInfo_t *infos)
{
    int64_t now = fake_now(t->c);
    unsigned int found = 0, room;
    REQUIRE_POINTER(count);
    REQUIRE(t->m != NULL || !t->d->mig_enabled || !t->d->mig_unprivileged, NVML_ERROR_NO_PERMISSION);
    room = infos == NULL ? 0 : *count;
    for (unsigned int i = 0; i < FAKE_MAX_PROCESSES; i++) {
        const struct fake_ProcessSlot *p = &t->d->processes[i];
        if (p->kind != kind || !fake_process_alive(p, now)) continue;
        if (t->m != NULL && (p->gi != t->m->gi || p->ci != t->m->ci)) continue;
        if (found < room) {
            infos[found].pid = p->pid;
            infos[found].usedGpuMemory = p->memory_bytes;
            infos[found].gpuInstanceId = p->gi;
            infos[found].computeInstanceId = p->ci;
        }
        found++;
    }
    *count = found;
    return found <= room ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *infos)
{
    ENTER_ANY(nvmlDeviceGetComputeRunningProcesses_v3, device);
    return list(&t, 1, count, infos);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                      nvmlProcessInfo_t *infos)
{
    ENTER_ANY(nvmlDeviceGetGraphicsRunningProcesses_v3, device);
    return list(&t, 2, count, infos);
}

nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                        nvmlProcessInfo_t *infos)
{
    ENTER_ANY(nvmlDeviceGetMPSComputeRunningProcesses_v3, device);
    return list(&t, 3, count, infos);
}

/* Version 2, for programs on drivers before 510: the same struct under another name. */
_Static_assert(sizeof(nvmlProcessInfo_v2_t) == sizeof(nvmlProcessInfo_t), "one layout");

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t device, unsigned int *count,
                                                     nvmlProcessInfo_v2_t *infos)
{
    ENTER_ANY(nvmlDeviceGetComputeRunningProcesses_v2, device);
    return list(&t, 1, count, (nvmlProcessInfo_t *)(void *)infos);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v2(nvmlDevice_t device, unsigned int *count,
                                                      nvmlProcessInfo_v2_t *infos)
{
    ENTER_ANY(nvmlDeviceGetGraphicsRunningProcesses_v2, device);
    return list(&t, 2, count, (nvmlProcessInfo_t *)(void *)infos);
}

nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v2(nvmlDevice_t device, unsigned int *count,
                                                        nvmlProcessInfo_v2_t *infos)
{
    ENTER_ANY(nvmlDeviceGetMPSComputeRunningProcesses_v2, device);
    return list(&t, 3, count, (nvmlProcessInfo_t *)(void *)infos);
}

/* splitmix64: whether a sample is missing depends on seed, process and period alone, so every reader misses the same. */
static bool missing(const struct fake_Device *d, uint32_t pid, int64_t period)
{
    uint64_t z = ((uint64_t)d->sample_seed << 32 | pid) + (uint64_t)period * UINT64_C(0x9e3779b97f4a7c15);
    if (d->sample_missing_ppm == 0) return false;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % 1000000 < d->sample_missing_ppm;
}

struct sample {
    uint64_t stamp_us;
    const struct fake_ProcessSlot *process;
    unsigned int sm;
};

/* The sample of one process over one period; false where the driver has none. */
static bool sample_of(const struct target *t, unsigned int slot, int64_t period, struct sample *out)
{
    const struct fake_Device *d = t->d;
    const struct fake_ProcessSlot *p = &d->processes[slot];
    int64_t end = d->load_ns + (period + 1) * d->sample_period_ns, start = end - d->sample_period_ns;
    if (p->pid == 0 || p->end_ns <= start || p->start_ns >= end || missing(d, p->pid, period)) return false;
    out->stamp_us = fake_wall_us(t->c, end);
    out->process = p;
    out->sm = fake_percent(fake_mean(d, fake_process_track(slot), end, d->sample_period_ns));
    return out->sm > 0 || p->encoder_percent > 0 || p->decoder_percent > 0;
}

/* Calls back for each sample newer than last_seen; returns how many there are. */
static unsigned int each_sample(const struct target *t, uint64_t last_seen, unsigned int room,
                                void (*put)(void *array, unsigned int place, const struct sample *sample), void *array)
{
    const struct fake_Device *d = t->d;
    int64_t newest = (fake_now(t->c) - d->sample_lag_ns - d->load_ns) / d->sample_period_ns - 1;
    int64_t period = newest - (int64_t)d->sample_depth + 1;
    unsigned int found = 0;
    if (period < 0) period = 0;
    for (; period <= newest; period++) {
        if (fake_wall_us(t->c, d->load_ns + (period + 1) * d->sample_period_ns) <= last_seen) continue;
        for (unsigned int slot = 0; slot < FAKE_MAX_PROCESSES; slot++) {
            struct sample sample;
            if (!sample_of(t, slot, period, &sample)) continue;
            if (found < room) put(array, found, &sample);
            found++;
        }
    }
    return found;
}

static void put_plain(void *array, unsigned int place, const struct sample *sample)
{
    nvmlProcessUtilizationSample_t *out = (nvmlProcessUtilizationSample_t *)array + place;
    out->pid = sample->process->pid;
    out->timeStamp = sample->stamp_us;
    out->smUtil = sample->sm;
    out->memUtil = sample->process->memory_percent;
    out->encUtil = sample->process->encoder_percent;
    out->decUtil = sample->process->decoder_percent;
}

static void put_info(void *array, unsigned int place, const struct sample *sample)
{
    nvmlProcessUtilizationInfo_v1_t *out = (nvmlProcessUtilizationInfo_v1_t *)array + place;
    out->timeStamp = sample->stamp_us;
    out->pid = sample->process->pid;
    out->smUtil = sample->sm;
    out->memUtil = sample->process->memory_percent;
    out->encUtil = sample->process->encoder_percent;
    out->decUtil = sample->process->decoder_percent;
    out->jpgUtil = 0;
    out->ofaUtil = 0;
}

static nvmlReturn_t verdict(const struct target *t, unsigned int found, unsigned int room)
{
    if (found == 0) return t->d->sample_empty_success ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
    return found <= room ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *samples,
                                             unsigned int *count, unsigned long long last_seen)
{
    unsigned int room;
    ENTER_DEVICE(nvmlDeviceGetProcessUtilization, device);
    REQUIRE_POINTER(count);
    REQUIRE(!t.d->mig_enabled, NVML_ERROR_NOT_SUPPORTED);
    room = samples == NULL ? 0 : *count;
    *count = each_sample(&t, last_seen, room, put_plain, samples);
    return verdict(&t, *count, room);
}

nvmlReturn_t nvmlDeviceGetProcessesUtilizationInfo(nvmlDevice_t device, nvmlProcessesUtilizationInfo_t *info)
{
    unsigned int room;
    ENTER_DEVICE(nvmlDeviceGetProcessesUtilizationInfo, device);
    REQUIRE_POINTER(info);
    REQUIRE(info->version == nvmlProcessesUtilizationInfo_v1, NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    REQUIRE(!t.d->mig_enabled, NVML_ERROR_NOT_SUPPORTED);
    room = info->procUtilArray == NULL ? 0 : info->processSamplesCount;
    info->processSamplesCount = each_sample(&t, info->lastSeenTimeStamp, room, put_info, info->procUtilArray);
    return verdict(&t, info->processSamplesCount, room);
}
