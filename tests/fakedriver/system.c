/* The driver as a whole: versions, error texts, and how a device is found. */
#include "fake.h"
#include <stdio.h>
#include <strings.h>

static const struct {
    nvmlReturn_t code;
    const char *text;
} TEXTS[] = {
    { NVML_SUCCESS, "Success" },
    { NVML_ERROR_UNINITIALIZED, "Uninitialized" },
    { NVML_ERROR_INVALID_ARGUMENT, "Invalid Argument" },
    { NVML_ERROR_NOT_SUPPORTED, "Not Supported" },
    { NVML_ERROR_NO_PERMISSION, "Insufficient Permissions" },
    { NVML_ERROR_ALREADY_INITIALIZED, "Already Initialized" },
    { NVML_ERROR_NOT_FOUND, "Not Found" },
    { NVML_ERROR_INSUFFICIENT_SIZE, "Insufficient Size" },
    { NVML_ERROR_INSUFFICIENT_POWER, "Insufficient External Power" },
    { NVML_ERROR_DRIVER_NOT_LOADED, "Driver Not Loaded" },
    { NVML_ERROR_TIMEOUT, "Timeout" },
    { NVML_ERROR_IRQ_ISSUE, "Interrupt Request Issue" },
    { NVML_ERROR_LIBRARY_NOT_FOUND, "NVML Shared Library Not Found" },
    { NVML_ERROR_FUNCTION_NOT_FOUND, "Function Not Found" },
    { NVML_ERROR_CORRUPTED_INFOROM, "Corrupted infoROM" },
    { NVML_ERROR_GPU_IS_LOST, "GPU is lost" },
    { NVML_ERROR_RESET_REQUIRED, "GPU requires restart" },
    { NVML_ERROR_OPERATING_SYSTEM, "The operating system has blocked the request." },
    { NVML_ERROR_LIB_RM_VERSION_MISMATCH, "Driver/library version mismatch" },
    { NVML_ERROR_IN_USE, "In use by another client" },
    { NVML_ERROR_MEMORY, "Insufficient Memory" },
    { NVML_ERROR_NO_DATA, "No data" },
    { NVML_ERROR_ARGUMENT_VERSION_MISMATCH, "Argument version mismatch" },
};

const char *nvmlErrorString(nvmlReturn_t result)
{
    ENTER_FREE(nvmlErrorString);
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        if (TEXTS[i].code == result) return TEXTS[i].text;
    }
    return "Unknown Error";
}

static nvmlReturn_t copy(char *to, unsigned int length, const char *from)
{
    REQUIRE_POINTER(to);
    REQUIRE(strlen(from) < length, NVML_ERROR_INSUFFICIENT_SIZE);
    strcpy(to, from);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
    ENTER(nvmlSystemGetDriverVersion);
    return copy(version, length, c->driver_version);
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length)
{
    char text[256];
    ENTER(nvmlSystemGetNVMLVersion);
    snprintf(text, sizeof text, "%u.%s", c->cuda_version / 1000, c->driver_version);
    return copy(version, length, text);
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version)
{
    ENTER(nvmlSystemGetCudaDriverVersion);
    REQUIRE_POINTER(version);
    *version = (int)c->cuda_version;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    ENTER(nvmlSystemGetCudaDriverVersion_v2);
    REQUIRE_POINTER(version);
    *version = (int)c->cuda_version;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count)
{
    ENTER(nvmlDeviceGetCount_v2);
    REQUIRE_POINTER(count);
    *count = 0;
    for (unsigned int i = 0; i < c->device_count; i++) *count += c->devices[i].present != 0;
    return NVML_SUCCESS;
}

/* A handle for a device that fell off the bus is refused, as drivers do, and so is what a test put in for it. */
static nvmlReturn_t give(struct fake_Control *c, enum fake_function fn, unsigned int device, int slot,
                         nvmlDevice_t *handle)
{
    struct target t = { .c = c };
    nvmlDevice_t found = fake_handle(c, device, slot);
    nvmlReturn_t answer = fake_admit(fn, found, true, &t);
    REQUIRE(answer == NVML_SUCCESS, answer);
    *handle = found;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
    ENTER(nvmlDeviceGetHandleByIndex_v2);
    REQUIRE_POINTER(device);
    for (unsigned int i = 0; i < c->device_count; i++) {
        if (c->devices[i].present && index-- == 0) return give(c, FN_nvmlDeviceGetHandleByIndex_v2, i, -1, device);
    }
    return NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
    ENTER(nvmlDeviceGetHandleByUUID);
    REQUIRE_POINTER(uuid);
    REQUIRE_POINTER(device);
    for (unsigned int i = 0; i < c->device_count; i++) {
        const struct fake_Device *d = &c->devices[i];
        if (!d->present) continue;
        if (strcmp(uuid, d->uuid) == 0) return give(c, FN_nvmlDeviceGetHandleByUUID, i, -1, device);
        for (int slot = 0; slot < FAKE_MAX_MIG; slot++) {
            if (d->mig[slot].present && strcmp(uuid, d->mig[slot].uuid) == 0)
                return give(c, FN_nvmlDeviceGetHandleByUUID, i, slot, device);
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, nvmlDevice_t *device)
{
    unsigned int domain, bus, slot;
    ENTER(nvmlDeviceGetHandleByPciBusId_v2);
    REQUIRE_POINTER(bus_id);
    REQUIRE_POINTER(device);
    REQUIRE(sscanf(bus_id, "%x:%x:%x", &domain, &bus, &slot) == 3, NVML_ERROR_INVALID_ARGUMENT);
    for (unsigned int i = 0; i < c->device_count; i++) {
        const struct fake_Device *d = &c->devices[i];
        if (d->present && d->pci_domain == domain && d->pci_bus == bus && d->pci_device == slot)
            return give(c, FN_nvmlDeviceGetHandleByPciBusId_v2, i, -1, device);
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length)
{
    ENTER_ANY(nvmlDeviceGetName, device);
    return copy(name, length, t.m != NULL ? t.m->name : t.d->name);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length)
{
    ENTER_ANY(nvmlDeviceGetUUID, device);
    return copy(uuid, length, t.m != NULL ? t.m->uuid : t.d->uuid);
}

nvmlReturn_t nvmlDeviceGetSerial(nvmlDevice_t device, char *serial, unsigned int length)
{
    ENTER_DEVICE(nvmlDeviceGetSerial, device);
    REQUIRE(t.d->has_serial, NVML_ERROR_NOT_SUPPORTED);
    return copy(serial, length, t.d->serial);
}

nvmlReturn_t nvmlDeviceGetBoardPartNumber(nvmlDevice_t device, char *part, unsigned int length)
{
    ENTER_DEVICE(nvmlDeviceGetBoardPartNumber, device);
    REQUIRE(t.d->has_serial, NVML_ERROR_NOT_SUPPORTED);
    return copy(part, length, t.d->part_number);
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index)
{
    ENTER_ANY(nvmlDeviceGetIndex, device);
    REQUIRE_POINTER(index);
    *index = 0;
    if (t.m != NULL) {
        for (unsigned int slot = 0; slot < t.slot; slot++) *index += t.d->mig[slot].present != 0;
        return NVML_SUCCESS;
    }
    for (unsigned int i = 0; i < t.index; i++) *index += t.c->devices[i].present != 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned int *minor)
{
    ENTER_DEVICE(nvmlDeviceGetMinorNumber, device);
    REQUIRE_POINTER(minor);
    *minor = t.index;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
    ENTER_ANY(nvmlDeviceGetPciInfo_v3, device);
    REQUIRE_POINTER(pci);
    memset(pci, 0, sizeof *pci);
    pci->domain = t.d->pci_domain;
    pci->bus = t.d->pci_bus;
    pci->device = t.d->pci_device;
    pci->pciDeviceId = t.d->pci_id;
    snprintf(pci->busId, sizeof pci->busId, "%08X:%02X:%02X.0", pci->domain, pci->bus & 0xff, pci->device & 0xff);
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "%04X:%02X:%02X.0", pci->domain & 0xffff, pci->bus & 0xff,
             pci->device & 0xff);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t device, nvmlDeviceArchitecture_t *architecture)
{
    ENTER_ANY(nvmlDeviceGetArchitecture, device);
    REQUIRE_POINTER(architecture);
    *architecture = t.d->architecture;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor)
{
    ENTER_ANY(nvmlDeviceGetCudaComputeCapability, device);
    REQUIRE_POINTER(major);
    REQUIRE_POINTER(minor);
    *major = (int)t.d->cuda_major;
    *minor = (int)t.d->cuda_minor;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNumGpuCores(nvmlDevice_t device, unsigned int *cores)
{
    ENTER_DEVICE(nvmlDeviceGetNumGpuCores, device);
    REQUIRE_POINTER(cores);
    *cores = t.d->cores;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuUptime_v1(nvmlDevice_t device, nvmlGpuUptime_v1_t *uptime)
{
    ENTER_ANY(nvmlDeviceGetGpuUptime_v1, device);
    REQUIRE_POINTER(uptime);
    REQUIRE(t.d->has_uptime, NVML_ERROR_NOT_SUPPORTED);
    uptime->uptime = (unsigned int)((fake_now(t.c) - t.d->load_ns) / 1000000000);
    return NVML_SUCCESS;
}
