/* MIG: mode, instances, profiles and slices. */
#include "fake.h"

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending)
{
    ENTER_DEVICE(nvmlDeviceGetMigMode, device);
    REQUIRE_POINTER(current);
    REQUIRE_POINTER(pending);
    REQUIRE(t.d->mig_capable, NVML_ERROR_NOT_SUPPORTED);
    *current = *pending = t.d->mig_enabled;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int *count)
{
    ENTER_DEVICE(nvmlDeviceGetMaxMigDeviceCount, device);
    REQUIRE_POINTER(count);
    *count = t.d->mig_enabled ? t.d->mig_max : 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int index, nvmlDevice_t *mig)
{
    ENTER_DEVICE(nvmlDeviceGetMigDeviceHandleByIndex, device);
    REQUIRE_POINTER(mig);
    REQUIRE(t.d->mig_capable, NVML_ERROR_NOT_SUPPORTED);
    REQUIRE(index < FAKE_MAX_MIG, NVML_ERROR_INVALID_ARGUMENT);
    REQUIRE(t.d->mig_enabled && t.d->mig[index].present, NVML_ERROR_NOT_FOUND);
    *mig = fake_handle(t.c, t.index, (int)index);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t mig, nvmlDevice_t *device)
{
    ENTER_ANY(nvmlDeviceGetDeviceHandleFromMigDeviceHandle, mig);
    REQUIRE_POINTER(device);
    REQUIRE(t.m != NULL, NVML_ERROR_INVALID_ARGUMENT);
    *device = fake_handle(t.c, t.index, -1);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned int *is_mig)
{
    ENTER_ANY(nvmlDeviceIsMigDeviceHandle, device);
    REQUIRE_POINTER(is_mig);
    *is_mig = t.m != NULL;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned int *id)
{
    ENTER_ANY(nvmlDeviceGetGpuInstanceId, device);
    REQUIRE_POINTER(id);
    REQUIRE(t.m != NULL, NVML_ERROR_NOT_SUPPORTED);
    *id = t.m->gi;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t device, unsigned int *id)
{
    ENTER_ANY(nvmlDeviceGetComputeInstanceId, device);
    REQUIRE_POINTER(id);
    REQUIRE(t.m != NULL, NVML_ERROR_NOT_SUPPORTED);
    *id = t.m->ci;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t device, nvmlDeviceAttributes_t *attributes)
{
    ENTER_ANY(nvmlDeviceGetAttributes_v2, device);
    REQUIRE_POINTER(attributes);
    REQUIRE(t.m != NULL, NVML_ERROR_NOT_SUPPORTED);
    memset(attributes, 0, sizeof *attributes);
    attributes->multiprocessorCount = t.m->sm_count;
    attributes->sharedCopyEngineCount = t.m->slices_gi;
    attributes->sharedDecoderCount = t.m->slices_gi;
    attributes->gpuInstanceSliceCount = t.m->slices_gi;
    attributes->computeInstanceSliceCount = t.m->slices_ci;
    attributes->memorySizeMB = t.m->memory_mib;
    return NVML_SUCCESS;
}

/* `profile` is an NVML_GPU_INSTANCE_PROFILE_*; each is its own slot. */
static nvmlReturn_t profile_of(const struct target *t, unsigned int profile, const struct fake_MigProfileSlot **found)
{
    REQUIRE(t->d->mig_capable && t->d->mig_enabled, NVML_ERROR_NOT_SUPPORTED);
    REQUIRE(profile < NVML_GPU_INSTANCE_PROFILE_COUNT, NVML_ERROR_INVALID_ARGUMENT);
    REQUIRE(profile < FAKE_MAX_MIG_PROFILES && t->d->mig_profiles[profile].present, NVML_ERROR_NOT_SUPPORTED);
    *found = &t->d->mig_profiles[profile];
    return NVML_SUCCESS;
}

#define DESCRIBE(info, p) \
    do { \
        (info)->id = (p)->id; \
        (info)->sliceCount = (p)->slices; \
        (info)->instanceCount = (p)->instances; \
        (info)->multiprocessorCount = (p)->sm_count; \
        (info)->memorySizeMB = (p)->memory_mib; \
    } while (0)

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfo(nvmlDevice_t device, unsigned int profile,
                                                 nvmlGpuInstanceProfileInfo_t *info)
{
    const struct fake_MigProfileSlot *p;
    nvmlReturn_t answer;
    ENTER_DEVICE(nvmlDeviceGetGpuInstanceProfileInfo, device);
    REQUIRE_POINTER(info);
    answer = profile_of(&t, profile, &p);
    REQUIRE(answer == NVML_SUCCESS, answer);
    memset(info, 0, sizeof *info);
    DESCRIBE(info, p);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfoV(nvmlDevice_t device, unsigned int profile,
                                                  nvmlGpuInstanceProfileInfo_v2_t *info)
{
    const struct fake_MigProfileSlot *p;
    nvmlReturn_t answer;
    ENTER_DEVICE(nvmlDeviceGetGpuInstanceProfileInfoV, device);
    REQUIRE_POINTER(info);
    REQUIRE(info->version == nvmlGpuInstanceProfileInfo_v2, NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    answer = profile_of(&t, profile, &p);
    REQUIRE(answer == NVML_SUCCESS, answer);
    memset(info, 0, sizeof *info);
    info->version = nvmlGpuInstanceProfileInfo_v2;
    DESCRIBE(info, p);
    strcpy(info->name, p->name);
    return NVML_SUCCESS;
}

static unsigned int memory_slices_of(const struct fake_Device *d, unsigned int profile_id)
{
    for (unsigned int kind = 0; kind < FAKE_MAX_MIG_PROFILES; kind++)
        if (d->mig_profiles[kind].present && d->mig_profiles[kind].id == profile_id)
            return d->mig_profiles[kind].memory_slices;
    return 0;
}

/* `profile_id` is as the profile's info says; only a privileged user may ask what is left of one. */
static nvmlReturn_t privileged_profile(const struct target *t, unsigned int profile_id,
                                       const struct fake_MigProfileSlot **found)
{
    REQUIRE(t->d->mig_capable && t->d->mig_enabled, NVML_ERROR_NOT_SUPPORTED);
    REQUIRE(!t->d->mig_unprivileged, NVML_ERROR_NO_PERMISSION);
    for (unsigned int kind = 0; kind < FAKE_MAX_MIG_PROFILES; kind++) {
        *found = &t->d->mig_profiles[kind];
        if ((*found)->present && (*found)->id == profile_id) return NVML_SUCCESS;
    }
    return NVML_ERROR_INVALID_ARGUMENT;
}

/* A GPU instance's handle is its MIG device's: the fake makes one compute instance in each. */
nvmlReturn_t nvmlDeviceGetGpuInstanceById(nvmlDevice_t device, unsigned int id, nvmlGpuInstance_t *instance)
{
    ENTER_DEVICE(nvmlDeviceGetGpuInstanceById, device);
    REQUIRE_POINTER(instance);
    REQUIRE(t.d->mig_enabled, NVML_ERROR_NOT_SUPPORTED);
    for (int slot = 0; slot < FAKE_MAX_MIG; slot++) {
        if (!t.d->mig[slot].present || t.d->mig[slot].gi != id) continue;
        *instance = (nvmlGpuInstance_t)(void *)fake_handle(t.c, t.index, slot);
        return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlGpuInstanceGetInfo(nvmlGpuInstance_t instance, nvmlGpuInstanceInfo_t *info)
{
    ENTER_ANY(nvmlGpuInstanceGetInfo, (nvmlDevice_t)(void *)instance);
    REQUIRE_POINTER(info);
    REQUIRE(t.m != NULL, NVML_ERROR_INVALID_ARGUMENT);
    memset(info, 0, sizeof *info);
    info->device = fake_handle(t.c, t.index, -1);
    info->id = t.m->gi;
    info->profileId = t.m->profile_id;
    info->placement.start = t.m->start;
    info->placement.size = memory_slices_of(t.d, t.m->profile_id);
    return NVML_SUCCESS;
}

/* The first slot of each GPU instance stands for it. */
static bool stands_for_gpu_instance(const struct fake_Device *d, unsigned int slot)
{
    const struct fake_MigSlot *m = &d->mig[slot];
    if (m->gpu_instance_only) return true;
    if (!m->present) return false;
    for (unsigned int before = 0; before < slot; before++)
        if (d->mig[before].present && d->mig[before].gi == m->gi) return false;
    return true;
}

nvmlReturn_t nvmlDeviceGetGpuInstances(nvmlDevice_t device, unsigned int profile_id, nvmlGpuInstance_t *instances,
                                       unsigned int *count)
{
    const struct fake_MigProfileSlot *p;
    nvmlReturn_t answer;
    ENTER_DEVICE(nvmlDeviceGetGpuInstances, device);
    REQUIRE_POINTER(instances);
    REQUIRE_POINTER(count);
    answer = privileged_profile(&t, profile_id, &p);
    REQUIRE(answer == NVML_SUCCESS, answer);
    *count = 0;
    for (unsigned int slot = 0; slot < FAKE_MAX_MIG; slot++) {
        if (!stands_for_gpu_instance(t.d, slot) || t.d->mig[slot].profile_id != profile_id) continue;
        instances[(*count)++] = (nvmlGpuInstance_t)(void *)fake_handle(t.c, t.index, (int)slot);
    }
    return NVML_SUCCESS;
}

/* As many as fit beside what is there, by memory slices and by compute slices. */
nvmlReturn_t nvmlDeviceGetGpuInstanceRemainingCapacity(nvmlDevice_t device, unsigned int profile_id,
                                                       unsigned int *count)
{
    const struct fake_MigProfileSlot *p;
    nvmlReturn_t answer;
    unsigned int taken = 0, compute = 0, whole = 0;
    ENTER_DEVICE(nvmlDeviceGetGpuInstanceRemainingCapacity, device);
    REQUIRE_POINTER(count);
    answer = privileged_profile(&t, profile_id, &p);
    REQUIRE(answer == NVML_SUCCESS, answer);
    for (unsigned int slot = 0; slot < FAKE_MAX_MIG; slot++) {
        const struct fake_MigSlot *m = &t.d->mig[slot];
        if (!stands_for_gpu_instance(t.d, slot)) continue;
        taken |= ((1u << memory_slices_of(t.d, m->profile_id)) - 1) << m->start;
        compute += m->slices_gi;
    }
    for (unsigned int kind = 0; kind < FAKE_MAX_MIG_PROFILES; kind++)
        if (t.d->mig_profiles[kind].present && t.d->mig_profiles[kind].slices > whole)
            whole = t.d->mig_profiles[kind].slices;
    *count = 0;
    for (unsigned int start = 0; start < 32; start++) {
        unsigned int wanted = ((1u << p->memory_slices) - 1) << start;
        if (!(p->starts >> start & 1) || (taken & wanted) || compute + p->slices > whole) continue;
        taken |= wanted;
        compute += p->slices;
        (*count)++;
    }
    return NVML_SUCCESS;
}
