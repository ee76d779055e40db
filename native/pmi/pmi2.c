/*
 * libpmi2.so: the interface of PMI-2 over the PMI-1 protocol of the job shell. Attributes of the node are keys that begin
 * with `local::`, which the shell does not pass on.
 */
#define _GNU_SOURCE
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((visibility("default"))) const int flux_pmi_library = 1;

#define EXPORT __attribute__((visibility("default")))
#define LOCAL_PREFIX "local::"
#define POLL_MICROSECONDS 10000

/* Results of the PMI-2 interface that differ from those of PMI-1. */
enum { PMI2_OK = 0, PMI2_FAIL = -1, PMI2_NOT_INITIALIZED = 1, PMI2_INVALID_ARGUMENT = 3, PMI2_INVALID_LENGTH = 5, PMI2_OTHER = 14 };

static int result_of(int result) {
  switch (result) {
    case RESULT_OK: return PMI2_OK;
    case RESULT_NOT_INITIALIZED: return PMI2_NOT_INITIALIZED;
    case RESULT_INVALID_ARGUMENT: return PMI2_INVALID_ARGUMENT;
    case RESULT_INVALID_LENGTH: return PMI2_INVALID_LENGTH;
    default: return result;
  }
}

EXPORT int PMI2_Init(int *spawned, int *size, int *rank, int *appnum) {
  int result = wire_initialize();
  if (result != RESULT_OK) return result_of(result);
  if (spawned != NULL) *spawned = 0;
  if (size != NULL) *size = pmi.size;
  if (rank != NULL) *rank = pmi.rank;
  if (appnum != NULL) *appnum = pmi.appnum;
  return PMI2_OK;
}

EXPORT int PMI2_Initialized(void) { return pmi.initialized; }
EXPORT int PMI2_Finalize(void) { return result_of(wire_finalize()); }
EXPORT int PMI2_Abort(int flag, const char message[]) { return (void)flag, wire_abort(1, message); }

EXPORT int PMI2_Job_GetId(char id[], int size) {
  return pmi.initialized ? result_of(wire_copy(id, size, pmi.name)) : PMI2_NOT_INITIALIZED;
}

EXPORT int PMI2_Job_GetRank(int *rank) {
  if (!pmi.initialized) return PMI2_NOT_INITIALIZED;
  if (rank == NULL) return PMI2_INVALID_ARGUMENT;
  *rank = pmi.rank;
  return PMI2_OK;
}

EXPORT int PMI2_Info_GetSize(int *size) {
  if (!pmi.initialized) return PMI2_NOT_INITIALIZED;
  if (size == NULL) return PMI2_INVALID_ARGUMENT;
  const char *text = getenv("PMI_LOCAL_SIZE");
  *size = text == NULL ? 1 : atoi(text);
  return PMI2_OK;
}

EXPORT int PMI2_KVS_Put(const char key[], const char value[]) { return result_of(wire_put(key, value)); }
EXPORT int PMI2_KVS_Fence(void) { return result_of(wire_barrier()); }

EXPORT int PMI2_KVS_Get(const char *job, int source, const char key[], char value[], int size, int *length) {
  (void)job, (void)source;
  return result_of(wire_get(key, value, size, length));
}

EXPORT int PMI2_Info_GetJobAttr(const char name[], char value[], int size, int *found) {
  int result = wire_get(name, value, size, NULL);
  if (found != NULL) *found = result == RESULT_OK;
  return result == RESULT_INVALID_KEY ? PMI2_OK : result_of(result);
}

EXPORT int PMI2_Info_GetJobAttrIntArray(const char name[], int array[], int size, int *length, int *found) {
  (void)name, (void)array, (void)size, (void)length;
  if (found != NULL) *found = 0;
  return PMI2_OK;
}

static int local_key(char *to, size_t size, const char *name) {
  return name != NULL && (size_t)snprintf(to, size, LOCAL_PREFIX "%s", name) < size ? RESULT_OK : RESULT_INVALID_KEY_LENGTH;
}

EXPORT int PMI2_Info_PutNodeAttr(const char name[], const char value[]) {
  char key[KEY_MAX_LENGTH + 1];
  return local_key(key, sizeof(key), name) == RESULT_OK ? result_of(wire_put(key, value)) : PMI2_INVALID_ARGUMENT;
}

EXPORT int PMI2_Info_GetNodeAttr(const char name[], char value[], int size, int *found, int wait) {
  char key[KEY_MAX_LENGTH + 1];
  if (local_key(key, sizeof(key), name) != RESULT_OK) return PMI2_INVALID_ARGUMENT;
  int result;
  while ((result = wire_get(key, value, size, NULL)) == RESULT_INVALID_KEY && wait) usleep(POLL_MICROSECONDS);
  if (found != NULL) *found = result == RESULT_OK;
  return result == RESULT_INVALID_KEY ? PMI2_OK : result_of(result);
}

EXPORT int PMI2_Info_GetNodeAttrIntArray(const char name[], int array[], int size, int *length, int *found) {
  return PMI2_Info_GetJobAttrIntArray(name, array, size, length, found);
}

/* What the job shell does not do. */
EXPORT int PMI2_Job_Connect(const char job[], void *connection) { return (void)job, (void)connection, PMI2_FAIL; }
EXPORT int PMI2_Job_Disconnect(const char job[]) { return (void)job, PMI2_FAIL; }
EXPORT int PMI2_Nameserv_publish(const char service[], const void *info, const char port[]) {
  return (void)service, (void)info, (void)port, PMI2_FAIL;
}
EXPORT int PMI2_Nameserv_lookup(const char service[], const void *info, char port[], int size) {
  return (void)service, (void)info, (void)port, (void)size, PMI2_FAIL;
}
EXPORT int PMI2_Nameserv_unpublish(const char service[], const void *info) { return (void)service, (void)info, PMI2_FAIL; }
EXPORT int PMI2_Job_Spawn(int count, const char *cmds[], int argcs[], const char **argvs[], const int maxprocs[],
                          const int info_sizes[], const void *infos[], int preput_size, const void *preput[], char job[],
                          int size, int errors[]) {
  (void)count, (void)cmds, (void)argcs, (void)argvs, (void)maxprocs, (void)info_sizes, (void)infos, (void)preput_size;
  return (void)preput, (void)job, (void)size, (void)errors, PMI2_FAIL;
}
