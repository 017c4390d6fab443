/* GPM: a sample holds every signal's integral at its instant; a metric is the mean between two samples. */
#include "fake.h"
#include <stdlib.h>

#define SAMPLE_MAGIC 0x47504d53

struct nvmlGpmSample_st {
    uint32_t magic;
    uint32_t generation; /* of the driver; 0 until taken */
    uint32_t device;
    uint32_t slot; /* of the MIG instance plus one; 0 for the device */
    int64_t at_ns;
    u128 cum[FAKE_SIGNALS];
};

enum unit { PERCENT, MIB_PER_SECOND };

static const struct {
    unsigned int metric;
    unsigned int signal;
    enum unit unit;
} METRICS[] = {
    { NVML_GPM_METRIC_GRAPHICS_UTIL, S_graphics, PERCENT },
    { NVML_GPM_METRIC_SM_UTIL, S_sm, PERCENT },
    { NVML_GPM_METRIC_SM_OCCUPANCY, S_sm_occupancy, PERCENT },
    { NVML_GPM_METRIC_INTEGER_UTIL, S_integer, PERCENT },
    { NVML_GPM_METRIC_ANY_TENSOR_UTIL, S_tensor, PERCENT },
    { NVML_GPM_METRIC_DFMA_TENSOR_UTIL, S_dfma, PERCENT },
    { NVML_GPM_METRIC_HMMA_TENSOR_UTIL, S_hmma, PERCENT },
    { NVML_GPM_METRIC_DMMA_TENSOR_UTIL, S_dmma, PERCENT },
    { NVML_GPM_METRIC_IMMA_TENSOR_UTIL, S_imma, PERCENT },
    { NVML_GPM_METRIC_DRAM_BW_UTIL, S_dram, PERCENT },
    { NVML_GPM_METRIC_FP64_UTIL, S_fp64, PERCENT },
    { NVML_GPM_METRIC_FP32_UTIL, S_fp32, PERCENT },
    { NVML_GPM_METRIC_FP16_UTIL, S_fp16, PERCENT },
    { NVML_GPM_METRIC_PCIE_TX_PER_SEC, S_pcie_tx_bytes_per_second, MIB_PER_SECOND },
    { NVML_GPM_METRIC_PCIE_RX_PER_SEC, S_pcie_rx_bytes_per_second, MIB_PER_SECOND },
    { NVML_GPM_METRIC_NVDEC_0_UTIL, S_decoder, PERCENT },
    { NVML_GPM_METRIC_NVJPG_0_UTIL, S_jpeg, PERCENT },
    { NVML_GPM_METRIC_NVOFA_0_UTIL, S_ofa, PERCENT },
    { NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC, S_nvlink_rx_bytes_per_second, MIB_PER_SECOND },
    { NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC, S_nvlink_tx_bytes_per_second, MIB_PER_SECOND },
};

nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t device, nvmlGpmSupport_t *support)
{
    ENTER_ANY(nvmlGpmQueryDeviceSupport, device);
    REQUIRE_POINTER(support);
    REQUIRE(support->version == NVML_GPM_SUPPORT_VERSION, NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    support->isSupportedDevice = t.d->has_gpm;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmQueryIfStreamingEnabled(nvmlDevice_t device, unsigned int *state)
{
    ENTER_DEVICE(nvmlGpmQueryIfStreamingEnabled, device);
    REQUIRE_POINTER(state);
    REQUIRE(t.d->has_gpm, NVML_ERROR_NOT_SUPPORTED);
    *state = 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmSampleAlloc(nvmlGpmSample_t *sample)
{
    ENTER(nvmlGpmSampleAlloc);
    REQUIRE_POINTER(sample);
    *sample = calloc(1, sizeof **sample);
    REQUIRE(*sample != NULL, NVML_ERROR_MEMORY);
    (*sample)->magic = SAMPLE_MAGIC;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmSampleFree(nvmlGpmSample_t sample)
{
    ENTER_FREE(nvmlGpmSampleFree);
    REQUIRE(sample != NULL && sample->magic == SAMPLE_MAGIC, NVML_ERROR_INVALID_ARGUMENT);
    sample->magic = 0;
    free(sample);
    return NVML_SUCCESS;
}

static nvmlReturn_t take(const struct target *t, unsigned int slot, nvmlGpmSample_t sample)
{
    uint32_t seq;
    REQUIRE(sample != NULL && sample->magic == SAMPLE_MAGIC, NVML_ERROR_INVALID_ARGUMENT);
    REQUIRE(t->d->has_gpm, NVML_ERROR_NOT_SUPPORTED);
    sample->generation = t->c->generation;
    sample->device = t->index;
    sample->slot = slot;
    do {
        unsigned int first = slot == 0 ? fake_device_track(0) : fake_mig_track(slot - 1, 0);
        seq = fake_read_begin(t->d);
        sample->at_ns = fake_now(t->c);
        for (unsigned int signal = 0; signal < FAKE_SIGNALS; signal++)
            sample->cum[signal] = fake_cum_unlocked(t->d, first + signal, sample->at_ns);
    } while (fake_read_retry(t->d, seq));
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmSampleGet(nvmlDevice_t device, nvmlGpmSample_t sample)
{
    ENTER_ANY(nvmlGpmSampleGet, device);
    return take(&t, t.m != NULL ? t.slot + 1 : 0, sample);
}

nvmlReturn_t nvmlGpmMigSampleGet(nvmlDevice_t device, unsigned int gpu_instance, nvmlGpmSample_t sample)
{
    ENTER_DEVICE(nvmlGpmMigSampleGet, device);
    REQUIRE(t.d->mig_enabled, NVML_ERROR_NOT_SUPPORTED);
    for (unsigned int slot = 0; slot < FAKE_MAX_MIG; slot++) {
        if (t.d->mig[slot].present && t.d->mig[slot].gi == gpu_instance) return take(&t, slot + 1, sample);
    }
    return NVML_ERROR_NOT_FOUND;
}

static nvmlReturn_t metric(const struct nvmlGpmSample_st *a, const struct nvmlGpmSample_st *b, nvmlGpmMetric_t *out)
{
    for (size_t i = 0; i < sizeof METRICS / sizeof METRICS[0]; i++) {
        double mean;
        if (METRICS[i].metric != out->metricId) continue;
        REQUIRE(a->slot == 0 || METRICS[i].unit == PERCENT, NVML_ERROR_NOT_SUPPORTED); /* links belong to the whole */
        mean = (double)(b->cum[METRICS[i].signal] - a->cum[METRICS[i].signal]) / (double)(b->at_ns - a->at_ns);
        out->value = METRICS[i].unit == PERCENT ? mean / 1e4 : mean / (1 << 20);
        return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t nvmlGpmMetricsGet(nvmlGpmMetricsGet_t *get)
{
    const struct nvmlGpmSample_st *a, *b;
    ENTER(nvmlGpmMetricsGet);
    REQUIRE_POINTER(get);
    REQUIRE(get->version == NVML_GPM_METRICS_GET_VERSION, NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    REQUIRE(get->numMetrics > 0 && get->numMetrics <= NVML_GPM_METRIC_MAX, NVML_ERROR_INVALID_ARGUMENT);
    a = get->sample1;
    b = get->sample2;
    REQUIRE(a != NULL && b != NULL && a->magic == SAMPLE_MAGIC && b->magic == SAMPLE_MAGIC, NVML_ERROR_INVALID_ARGUMENT);
    REQUIRE(a->generation == c->generation && b->generation == a->generation, NVML_ERROR_INVALID_ARGUMENT);
    REQUIRE(a->device == b->device && a->slot == b->slot && a->at_ns < b->at_ns, NVML_ERROR_INVALID_ARGUMENT);
    for (unsigned int i = 0; i < get->numMetrics; i++) {
        memset(&get->metrics[i].metricInfo, 0, sizeof get->metrics[i].metricInfo);
        get->metrics[i].nvmlReturn = metric(a, b, &get->metrics[i]);
    }
    return NVML_SUCCESS;
}
