/* What a device says of itself at this moment: activity, memory, power, energy, temperatures, clocks, links. */
#include "fake.h"

#define NOT_WITH_MIG(t) REQUIRE(!(t).d->mig_enabled, NVML_ERROR_NOT_SUPPORTED)

static uint64_t now_of(const struct target *t, unsigned int signal)
{
    return fake_value(t->d, fake_device_track(signal), fake_now(t->c));
}

static unsigned int busy(const struct target *t, unsigned int signal)
{
    uint64_t ppm = fake_mean(t->d, fake_device_track(signal), fake_now(t->c), t->d->utilization_window_ns);
    return fake_percent(ppm);
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization)
{
    ENTER_DEVICE(nvmlDeviceGetUtilizationRates, device);
    REQUIRE_POINTER(utilization);
    NOT_WITH_MIG(t);
    utilization->gpu = busy(&t, S_utilization);
    utilization->memory = busy(&t, S_memory_utilization);
    return NVML_SUCCESS;
}

static nvmlReturn_t engine(const struct target *t, unsigned int signal, unsigned int *utilization, unsigned int *period)
{
    REQUIRE_POINTER(utilization);
    REQUIRE_POINTER(period);
    NOT_WITH_MIG(*t);
    *utilization = busy(t, signal);
    *period = (unsigned int)(t->d->sample_period_ns / 1000);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEncoderUtilization(nvmlDevice_t device, unsigned int *utilization, unsigned int *period)
{
    ENTER_DEVICE(nvmlDeviceGetEncoderUtilization, device);
    return engine(&t, S_encoder, utilization, period);
}

nvmlReturn_t nvmlDeviceGetDecoderUtilization(nvmlDevice_t device, unsigned int *utilization, unsigned int *period)
{
    ENTER_DEVICE(nvmlDeviceGetDecoderUtilization, device);
    return engine(&t, S_decoder, utilization, period);
}

nvmlReturn_t nvmlDeviceGetJpgUtilization(nvmlDevice_t device, unsigned int *utilization, unsigned int *period)
{
    ENTER_DEVICE(nvmlDeviceGetJpgUtilization, device);
    REQUIRE(t.d->has_jpeg_ofa, NVML_ERROR_NOT_SUPPORTED);
    return engine(&t, S_jpeg, utilization, period);
}

nvmlReturn_t nvmlDeviceGetOfaUtilization(nvmlDevice_t device, unsigned int *utilization, unsigned int *period)
{
    ENTER_DEVICE(nvmlDeviceGetOfaUtilization, device);
    REQUIRE(t.d->has_jpeg_ofa, NVML_ERROR_NOT_SUPPORTED);
    return engine(&t, S_ofa, utilization, period);
}

/* Totals of a device or a MIG instance; `used` leaves out what the driver keeps for itself. */
static void memory_of(const struct target *t, uint64_t *total, uint64_t *reserved, uint64_t *used)
{
    unsigned int track = t->m != NULL ? fake_mig_track(t->slot, S_memory_used_bytes)
                                      : fake_device_track(S_memory_used_bytes);
    *total = t->m != NULL ? t->m->memory_mib << 20 : t->d->memory_total_bytes;
    *reserved = t->m != NULL ? t->m->memory_reserved_bytes : t->d->memory_reserved_bytes;
    *used = fake_value(t->d, track, fake_now(t->c));
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    uint64_t total, reserved, used;
    ENTER_ANY(nvmlDeviceGetMemoryInfo, device);
    REQUIRE_POINTER(memory);
    memory_of(&t, &total, &reserved, &used);
    memory->total = total;
    memory->used = used + reserved; /* version 1 counts the reserved part as used */
    memory->free = total > memory->used ? total - memory->used : 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory)
{
    uint64_t total, reserved, used;
    ENTER_ANY(nvmlDeviceGetMemoryInfo_v2, device);
    REQUIRE_POINTER(memory);
    REQUIRE(memory->version == nvmlMemory_v2, NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    memory_of(&t, &total, &reserved, &used);
    memory->total = total;
    memory->reserved = reserved;
    memory->used = used;
    memory->free = total > used + reserved ? total - used - reserved : 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t device, nvmlBAR1Memory_t *memory)
{
    ENTER_DEVICE(nvmlDeviceGetBAR1MemoryInfo, device);
    REQUIRE_POINTER(memory);
    memory->bar1Total = t.d->memory_total_bytes;
    memory->bar1Used = 1 << 20;
    memory->bar1Free = memory->bar1Total - memory->bar1Used;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int *power)
{
    ENTER_DEVICE(nvmlDeviceGetPowerUsage, device);
    REQUIRE_POINTER(power);
    *power = (unsigned int)fake_mean(t.d, fake_device_track(S_power_mw), fake_now(t.c), t.d->power_window_ns);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *energy)
{
    ENTER_DEVICE(nvmlDeviceGetTotalEnergyConsumption, device);
    REQUIRE_POINTER(energy);
    REQUIRE(t.d->has_energy, NVML_ERROR_NOT_SUPPORTED);
    *energy = fake_energy_mj(t.c, t.d);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned int *limit)
{
    ENTER_DEVICE(nvmlDeviceGetEnforcedPowerLimit, device);
    REQUIRE_POINTER(limit);
    *limit = t.d->power_limit_mw;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t device, unsigned int *limit)
{
    ENTER_DEVICE(nvmlDeviceGetPowerManagementLimit, device);
    REQUIRE_POINTER(limit);
    *limit = t.d->power_limit_mw;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerManagementDefaultLimit(nvmlDevice_t device, unsigned int *limit)
{
    ENTER_DEVICE(nvmlDeviceGetPowerManagementDefaultLimit, device);
    REQUIRE_POINTER(limit);
    *limit = t.d->power_default_mw;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t device, unsigned int *low, unsigned int *high)
{
    ENTER_DEVICE(nvmlDeviceGetPowerManagementLimitConstraints, device);
    REQUIRE_POINTER(low);
    REQUIRE_POINTER(high);
    *low = t.d->power_min_mw;
    *high = t.d->power_max_mw;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, nvmlTemperatureSensors_t sensor, unsigned int *celsius)
{
    ENTER_DEVICE(nvmlDeviceGetTemperature, device);
    REQUIRE_POINTER(celsius);
    REQUIRE(sensor == NVML_TEMPERATURE_GPU, NVML_ERROR_INVALID_ARGUMENT);
    *celsius = (unsigned int)now_of(&t, S_temperature_celsius);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device, nvmlTemperature_t *temperature)
{
    ENTER_DEVICE(nvmlDeviceGetTemperatureV, device);
    REQUIRE_POINTER(temperature);
    REQUIRE(temperature->version == nvmlTemperature_v1, NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    REQUIRE(temperature->sensorType == NVML_TEMPERATURE_GPU, NVML_ERROR_INVALID_ARGUMENT);
    temperature->temperature = (int)now_of(&t, S_temperature_celsius);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperatureThreshold(nvmlDevice_t device, nvmlTemperatureThresholds_t threshold,
                                               unsigned int *celsius)
{
    ENTER_DEVICE(nvmlDeviceGetTemperatureThreshold, device);
    REQUIRE_POINTER(celsius);
    REQUIRE(threshold <= NVML_TEMPERATURE_THRESHOLD_SLOWDOWN, NVML_ERROR_NOT_SUPPORTED);
    *celsius = threshold == NVML_TEMPERATURE_THRESHOLD_SHUTDOWN ? 95 : 92;
    return NVML_SUCCESS;
}

static nvmlReturn_t clock_of(const struct target *t, nvmlClockType_t type, unsigned int *clock)
{
    static const unsigned int SIGNAL[] = { S_sm_clock_mhz, S_sm_clock_mhz, S_memory_clock_mhz, S_video_clock_mhz };
    REQUIRE_POINTER(clock);
    REQUIRE(type < NVML_CLOCK_COUNT, NVML_ERROR_INVALID_ARGUMENT);
    *clock = (unsigned int)now_of(t, SIGNAL[type]);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned int *clock)
{
    ENTER_DEVICE(nvmlDeviceGetClockInfo, device);
    return clock_of(&t, type, clock);
}

nvmlReturn_t nvmlDeviceGetClock(nvmlDevice_t device, nvmlClockType_t type, nvmlClockId_t id, unsigned int *clock)
{
    ENTER_DEVICE(nvmlDeviceGetClock, device);
    REQUIRE(id == NVML_CLOCK_ID_CURRENT, NVML_ERROR_NOT_SUPPORTED);
    return clock_of(&t, type, clock);
}

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned int *clock)
{
    ENTER_DEVICE(nvmlDeviceGetMaxClockInfo, device);
    REQUIRE_POINTER(clock);
    REQUIRE(type < NVML_CLOCK_COUNT, NVML_ERROR_INVALID_ARGUMENT);
    *clock = type == NVML_CLOCK_MEM     ? t.d->max_memory_clock_mhz
             : type == NVML_CLOCK_VIDEO ? t.d->max_video_clock_mhz
                                        : t.d->max_sm_clock_mhz;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPerformanceState(nvmlDevice_t device, nvmlPstates_t *state)
{
    ENTER_DEVICE(nvmlDeviceGetPerformanceState, device);
    REQUIRE_POINTER(state);
    *state = (nvmlPstates_t)t.d->performance_state;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetFanSpeed(nvmlDevice_t device, unsigned int *speed)
{
    ENTER_DEVICE(nvmlDeviceGetFanSpeed, device);
    REQUIRE_POINTER(speed);
    return NVML_ERROR_NOT_SUPPORTED; /* data-centre boards are cooled by their chassis */
}

static nvmlReturn_t mode(nvmlEnableState_t *state, unsigned int value)
{
    REQUIRE_POINTER(state);
    *state = value ? NVML_FEATURE_ENABLED : NVML_FEATURE_DISABLED;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device, nvmlEnableState_t *state)
{
    ENTER_DEVICE(nvmlDeviceGetPersistenceMode, device);
    return mode(state, t.d->persistence);
}

nvmlReturn_t nvmlDeviceGetDisplayMode(nvmlDevice_t device, nvmlEnableState_t *state)
{
    ENTER_DEVICE(nvmlDeviceGetDisplayMode, device);
    return mode(state, 0);
}

nvmlReturn_t nvmlDeviceGetDisplayActive(nvmlDevice_t device, nvmlEnableState_t *state)
{
    ENTER_DEVICE(nvmlDeviceGetDisplayActive, device);
    return mode(state, 0);
}

nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t device, nvmlComputeMode_t *compute)
{
    ENTER_DEVICE(nvmlDeviceGetComputeMode, device);
    REQUIRE_POINTER(compute);
    *compute = NVML_COMPUTEMODE_DEFAULT;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPcieThroughput(nvmlDevice_t device, nvmlPcieUtilCounter_t counter, unsigned int *value)
{
    ENTER_DEVICE(nvmlDeviceGetPcieThroughput, device);
    REQUIRE_POINTER(value);
    NOT_WITH_MIG(t);
    REQUIRE(counter < NVML_PCIE_UTIL_COUNT, NVML_ERROR_INVALID_ARGUMENT);
    *value = (unsigned int)(now_of(&t, counter == NVML_PCIE_UTIL_TX_BYTES ? S_pcie_tx_bytes_per_second
                                                                          : S_pcie_rx_bytes_per_second) / 1000);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrPcieLinkGeneration(nvmlDevice_t device, unsigned int *generation)
{
    ENTER_DEVICE(nvmlDeviceGetCurrPcieLinkGeneration, device);
    REQUIRE_POINTER(generation);
    *generation = t.d->pcie_gen;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrPcieLinkWidth(nvmlDevice_t device, unsigned int *width)
{
    ENTER_DEVICE(nvmlDeviceGetCurrPcieLinkWidth, device);
    REQUIRE_POINTER(width);
    *width = t.d->pcie_width;
    return NVML_SUCCESS;
}

/* The driver's ring of samples: one every 100 ms, the last 120. */
#define RING_NS INT64_C(100000000)
#define RING_DEPTH 120

nvmlReturn_t nvmlDeviceGetSamples(nvmlDevice_t device, nvmlSamplingType_t type, unsigned long long last_seen,
                                  nvmlValueType_t *value_type, unsigned int *count, nvmlSample_t *samples)
{
    static const unsigned int SIGNAL[] = {
        [NVML_TOTAL_POWER_SAMPLES] = S_power_mw,
        [NVML_GPU_UTILIZATION_SAMPLES] = S_utilization,
        [NVML_MEMORY_UTILIZATION_SAMPLES] = S_memory_utilization,
        [NVML_ENC_UTILIZATION_SAMPLES] = S_encoder,
        [NVML_DEC_UTILIZATION_SAMPLES] = S_decoder,
        [NVML_PROCESSOR_CLK_SAMPLES] = S_sm_clock_mhz,
        [NVML_MEMORY_CLK_SAMPLES] = S_memory_clock_mhz,
    };
    int64_t newest, tick;
    unsigned int found = 0;
    bool ratio;
    ENTER_DEVICE(nvmlDeviceGetSamples, device);
    REQUIRE_POINTER(value_type);
    REQUIRE_POINTER(count);
    REQUIRE(type < sizeof SIGNAL / sizeof SIGNAL[0], NVML_ERROR_NOT_SUPPORTED);
    ratio = type >= NVML_GPU_UTILIZATION_SAMPLES && type <= NVML_DEC_UTILIZATION_SAMPLES;
    REQUIRE(!ratio || !t.d->mig_enabled, NVML_ERROR_NOT_SUPPORTED);
    *value_type = NVML_VALUE_TYPE_UNSIGNED_INT;
    newest = (fake_now(t.c) - t.d->load_ns) / RING_NS;
    tick = newest < RING_DEPTH ? 0 : newest - RING_DEPTH + 1;
    for (; tick <= newest; tick++) {
        int64_t at = t.d->load_ns + tick * RING_NS;
        uint64_t value;
        if (fake_wall_us(t.c, at) <= last_seen) continue;
        if (samples != NULL) {
            REQUIRE(found < *count, NVML_ERROR_INSUFFICIENT_SIZE);
            value = fake_value(t.d, fake_device_track(SIGNAL[type]), at);
            samples[found].timeStamp = fake_wall_us(t.c, at);
            samples[found].sampleValue.uiVal = ratio ? fake_percent(value) : (unsigned int)value;
        }
        found++;
    }
    *count = found;
    return found > 0 ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}
