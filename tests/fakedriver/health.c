/* Why clocks are held down, what broke, and the batched field values. */
#include "fake.h"

static nvmlReturn_t reasons(const struct target *t, unsigned long long *mask)
{
    REQUIRE_POINTER(mask);
    *mask = t->d->throttle_reasons;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long *mask)
{
    ENTER_DEVICE(nvmlDeviceGetCurrentClocksEventReasons, device);
    return reasons(&t, mask);
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long *mask)
{
    ENTER_DEVICE(nvmlDeviceGetCurrentClocksThrottleReasons, device);
    return reasons(&t, mask);
}

nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, nvmlEnableState_t *current, nvmlEnableState_t *pending)
{
    ENTER_DEVICE(nvmlDeviceGetEccMode, device);
    REQUIRE_POINTER(current);
    REQUIRE_POINTER(pending);
    REQUIRE(t.d->has_ecc, NVML_ERROR_NOT_SUPPORTED);
    *current = *pending = NVML_FEATURE_ENABLED;
    return NVML_SUCCESS;
}

/* ecc[]: volatile corrected, volatile uncorrected, aggregate corrected, aggregate uncorrected, as fields 3 to 6. */
nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, nvmlMemoryErrorType_t error, nvmlEccCounterType_t counter,
                                         unsigned long long *count)
{
    ENTER_DEVICE(nvmlDeviceGetTotalEccErrors, device);
    REQUIRE_POINTER(count);
    REQUIRE(error < NVML_MEMORY_ERROR_TYPE_COUNT && counter < NVML_ECC_COUNTER_TYPE_COUNT, NVML_ERROR_INVALID_ARGUMENT);
    REQUIRE(t.d->has_ecc, NVML_ERROR_NOT_SUPPORTED);
    *count = t.d->ecc[2 * (unsigned int)counter + (unsigned int)error];
    return NVML_SUCCESS;
}

static bool has_instances(const struct fake_Device *d)
{
    for (unsigned int slot = 0; d->mig_enabled && slot < FAKE_MAX_MIG; slot++) {
        if (d->mig[slot].present) return true;
    }
    return false;
}

nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t device, unsigned int *corrected, unsigned int *uncorrected,
                                       unsigned int *pending, unsigned int *failed)
{
    ENTER_DEVICE(nvmlDeviceGetRemappedRows, device);
    REQUIRE(corrected && uncorrected && pending && failed, NVML_ERROR_INVALID_ARGUMENT);
    REQUIRE(t.d->has_remapped_rows && !has_instances(t.d), NVML_ERROR_NOT_SUPPORTED);
    *corrected = t.d->remapped_rows[0];
    *uncorrected = t.d->remapped_rows[1];
    *pending = t.d->remap_pending;
    *failed = t.d->remap_failure;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPcieReplayCounter(nvmlDevice_t device, unsigned int *value)
{
    ENTER_DEVICE(nvmlDeviceGetPcieReplayCounter, device);
    REQUIRE_POINTER(value);
    *value = t.d->pcie_replays;
    return NVML_SUCCESS;
}

static nvmlReturn_t check_link(const struct target *t, unsigned int link)
{
    REQUIRE(link < NVML_NVLINK_MAX_LINKS, NVML_ERROR_INVALID_ARGUMENT);
    REQUIRE(t->d->nvlink_count > 0, NVML_ERROR_NOT_SUPPORTED);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNvLinkState(nvmlDevice_t device, unsigned int link, nvmlEnableState_t *active)
{
    nvmlReturn_t answer;
    ENTER_DEVICE(nvmlDeviceGetNvLinkState, device);
    REQUIRE_POINTER(active);
    answer = check_link(&t, link);
    REQUIRE(answer == NVML_SUCCESS, answer);
    *active = link < t.d->nvlink_count ? NVML_FEATURE_ENABLED : NVML_FEATURE_DISABLED;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNvLinkVersion(nvmlDevice_t device, unsigned int link, unsigned int *version)
{
    nvmlReturn_t answer;
    ENTER_DEVICE(nvmlDeviceGetNvLinkVersion, device);
    REQUIRE_POINTER(version);
    answer = check_link(&t, link);
    REQUIRE(answer == NVML_SUCCESS, answer);
    *version = t.d->nvlink_version;
    return NVML_SUCCESS;
}

/* nvlink_errors[] is in the order of nvmlNvLinkErrorCounter_t; all errors lie on link 0. */
nvmlReturn_t nvmlDeviceGetNvLinkErrorCounter(nvmlDevice_t device, unsigned int link, nvmlNvLinkErrorCounter_t counter,
                                             unsigned long long *value)
{
    nvmlReturn_t answer;
    ENTER_DEVICE(nvmlDeviceGetNvLinkErrorCounter, device);
    REQUIRE_POINTER(value);
    answer = check_link(&t, link);
    REQUIRE(answer == NVML_SUCCESS, answer);
    REQUIRE(counter <= NVML_NVLINK_ERROR_DL_CRC_DATA, NVML_ERROR_NOT_SUPPORTED);
    *value = link == 0 ? t.d->nvlink_errors[counter] : 0;
    return NVML_SUCCESS;
}

/* Field values. */
static nvmlReturn_t u32(nvmlFieldValue_t *field, uint64_t value)
{
    field->valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
    field->value.ullVal = 0;
    field->value.uiVal = (unsigned int)value;
    return NVML_SUCCESS;
}

static nvmlReturn_t u64(nvmlFieldValue_t *field, uint64_t value)
{
    field->valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
    field->value.ullVal = value;
    return NVML_SUCCESS;
}

static nvmlReturn_t power(const struct target *t, nvmlFieldValue_t *field, int64_t window_ns)
{
    unsigned int signal = field->scopeId == NVML_POWER_SCOPE_GPU ? S_power_mw : S_module_power_mw;
    REQUIRE(field->scopeId <= NVML_POWER_SCOPE_MODULE, NVML_ERROR_NOT_SUPPORTED);
    REQUIRE(signal == S_power_mw || t->d->has_module_power, NVML_ERROR_NOT_SUPPORTED);
    return u32(field, fake_mean(t->d, fake_device_track(signal), fake_now(t->c), window_ns));
}

/* Bytes since driver load; a counter of fewer than 64 bits wraps. */
static nvmlReturn_t pcie_bytes(const struct target *t, nvmlFieldValue_t *field, unsigned int signal)
{
    uint64_t bytes = (uint64_t)(fake_since_origin(t->d, signal, fake_now(t->c)) / 1000000000);
    REQUIRE(t->d->has_average_power || t->d->has_remapped_rows, NVML_ERROR_NOT_SUPPORTED); /* Ampere on */
    return u64(field, t->d->pcie_counter_bits < 64 ? bytes & ((UINT64_C(1) << t->d->pcie_counter_bits) - 1) : bytes);
}

/* All links' bytes since driver load by `unit`; the scope names one link or, all ones, their sum. */
static nvmlReturn_t nvlink_bytes(const struct target *t, nvmlFieldValue_t *field, unsigned int signal, uint64_t unit)
{
    u128 bytes;
    REQUIRE(t->d->nvlink_count > 0, NVML_ERROR_NOT_SUPPORTED);
    REQUIRE(field->scopeId == UINT32_MAX || field->scopeId < t->d->nvlink_count, NVML_ERROR_INVALID_ARGUMENT);
    bytes = fake_since_origin(t->d, signal, fake_now(t->c)) / 1000000000;
    if (field->scopeId != UINT32_MAX) bytes /= t->d->nvlink_count;
    return u64(field, (uint64_t)(bytes / unit));
}

static nvmlReturn_t nvlink_errors(const struct target *t, nvmlFieldValue_t *field, nvmlNvLinkErrorCounter_t counter)
{
    REQUIRE(t->d->nvlink_count > 0, NVML_ERROR_NOT_SUPPORTED);
    return u64(field, t->d->nvlink_errors[counter]);
}

static nvmlReturn_t slowdown(const struct target *t, nvmlFieldValue_t *field)
{
    unsigned int first = t->c->old_slowdown_fields ? 251 : NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN;
    REQUIRE(field->fieldId >= first && field->fieldId < first + 3, NVML_ERROR_NOT_SUPPORTED);
    return u64(field, t->d->throttle_ns[8 + field->fieldId - first]);
}

static nvmlReturn_t ecc_and_rows(const struct target *t, nvmlFieldValue_t *field)
{
    bool rows = t->d->has_remapped_rows && !has_instances(t->d);
    switch (field->fieldId) {
    case NVML_FI_DEV_ECC_CURRENT:
        return t->d->has_ecc ? u32(field, 1) : NVML_ERROR_NOT_SUPPORTED;
    case NVML_FI_DEV_ECC_SBE_VOL_TOTAL:
    case NVML_FI_DEV_ECC_DBE_VOL_TOTAL:
    case NVML_FI_DEV_ECC_SBE_AGG_TOTAL:
    case NVML_FI_DEV_ECC_DBE_AGG_TOTAL:
        return t->d->has_ecc ? u64(field, t->d->ecc[field->fieldId - NVML_FI_DEV_ECC_SBE_VOL_TOTAL])
                             : NVML_ERROR_NOT_SUPPORTED;
    case NVML_FI_DEV_REMAPPED_COR:
        return rows ? u32(field, t->d->remapped_rows[0]) : NVML_ERROR_NOT_SUPPORTED;
    case NVML_FI_DEV_REMAPPED_UNC:
        return rows ? u32(field, t->d->remapped_rows[1]) : NVML_ERROR_NOT_SUPPORTED;
    case NVML_FI_DEV_REMAPPED_PENDING:
        return rows ? u32(field, t->d->remap_pending) : NVML_ERROR_NOT_SUPPORTED;
    case NVML_FI_DEV_REMAPPED_FAILURE:
        return rows ? u32(field, t->d->remap_failure) : NVML_ERROR_NOT_SUPPORTED;
    default:
        return slowdown(t, field);
    }
}

static nvmlReturn_t links(const struct target *t, nvmlFieldValue_t *field)
{
    switch (field->fieldId) {
    case NVML_FI_DEV_PCIE_REPLAY_COUNTER: return u32(field, t->d->pcie_replays);
    case NVML_FI_DEV_PCIE_COUNT_TX_BYTES: return pcie_bytes(t, field, S_pcie_tx_bytes_per_second);
    case NVML_FI_DEV_PCIE_COUNT_RX_BYTES: return pcie_bytes(t, field, S_pcie_rx_bytes_per_second);
    case NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX:
    case NVML_FI_DEV_NVLINK_THROUGHPUT_RAW_TX: return nvlink_bytes(t, field, S_nvlink_tx_bytes_per_second, 1024);
    case NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX:
    case NVML_FI_DEV_NVLINK_THROUGHPUT_RAW_RX: return nvlink_bytes(t, field, S_nvlink_rx_bytes_per_second, 1024);
    case NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES:
        return t->d->nvlink_version < 5 ? NVML_ERROR_NOT_SUPPORTED
                                        : nvlink_bytes(t, field, S_nvlink_tx_bytes_per_second, 1);
    case NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES:
        return t->d->nvlink_version < 5 ? NVML_ERROR_NOT_SUPPORTED
                                        : nvlink_bytes(t, field, S_nvlink_rx_bytes_per_second, 1);
    case NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL: return nvlink_errors(t, field, NVML_NVLINK_ERROR_DL_CRC_FLIT);
    case NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL: return nvlink_errors(t, field, NVML_NVLINK_ERROR_DL_CRC_DATA);
    case NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL: return nvlink_errors(t, field, NVML_NVLINK_ERROR_DL_REPLAY);
    case NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL: return nvlink_errors(t, field, NVML_NVLINK_ERROR_DL_RECOVERY);
    case NVML_FI_DEV_NVLINK_LINK_COUNT: return u32(field, t->d->nvlink_count);
    case NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON:
    case NVML_FI_DEV_NVLINK_GET_SPEED:
        return t->d->nvlink_count > 0 ? u32(field, t->d->nvlink_mbps) : NVML_ERROR_NOT_SUPPORTED;
    default: return ecc_and_rows(t, field);
    }
}

static nvmlReturn_t answer_field(const struct target *t, nvmlFieldValue_t *field)
{
    for (unsigned int i = 0; i < t->d->override_count; i++) {
        const struct fake_FieldOverride *over = &t->d->overrides[i];
        if (over->field_id == field->fieldId && over->scope == field->scopeId) return u64(field, over->value);
    }
    switch (field->fieldId) {
    case NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION:
    case NVML_FI_DEV_ENERGY:
        REQUIRE(t->d->has_energy && field->scopeId == NVML_POWER_SCOPE_GPU, NVML_ERROR_NOT_SUPPORTED);
        return u64(field, fake_energy_mj(t->c, t->d));
    case NVML_FI_DEV_POWER_INSTANT: return power(t, field, 0);
    case NVML_FI_DEV_POWER_AVERAGE:
        return t->d->has_average_power ? power(t, field, t->d->power_window_ns) : NVML_ERROR_NOT_SUPPORTED;
    case NVML_FI_DEV_POWER_MIN_LIMIT: return u32(field, t->d->power_min_mw);
    case NVML_FI_DEV_POWER_MAX_LIMIT: return u32(field, t->d->power_max_mw);
    case NVML_FI_DEV_POWER_DEFAULT_LIMIT: return u32(field, t->d->power_default_mw);
    case NVML_FI_DEV_POWER_CURRENT_LIMIT:
    case NVML_FI_DEV_POWER_REQUESTED_LIMIT: return u32(field, t->d->power_limit_mw);
    case NVML_FI_DEV_MEMORY_TEMP:
        REQUIRE(t->d->has_memory_temperature, NVML_ERROR_NOT_SUPPORTED);
        return u32(field, fake_value(t->d, fake_device_track(S_memory_temperature_celsius), fake_now(t->c)));
    case NVML_FI_DEV_PERF_POLICY_POWER ... NVML_FI_DEV_PERF_POLICY_TOTAL_BASE_CLOCKS:
        return u64(field, t->d->throttle_ns[field->fieldId - NVML_FI_DEV_PERF_POLICY_POWER]);
    default: return links(t, field);
    }
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values)
{
    uint64_t stamp;
    ENTER_DEVICE(nvmlDeviceGetFieldValues, device);
    REQUIRE(count > 0 && values != NULL, NVML_ERROR_INVALID_ARGUMENT);
    stamp = fake_wall_us(t.c, fake_now(t.c));
    for (int i = 0; i < count; i++) {
        nvmlFieldValue_t *field = &values[i];
        unsigned int fault = field->fieldId < FAKE_MAX_FIELDS ? t.d->field_faults[field->fieldId] : 0;
        field->timestamp = (long long)stamp;
        field->latencyUsec = 0;
        field->nvmlReturn = fault != 0 ? (nvmlReturn_t)fault : answer_field(&t, field);
    }
    return NVML_SUCCESS;
}
