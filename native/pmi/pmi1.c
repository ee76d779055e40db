/*
 * libpmi.so: the interface of PMI-1 for programs that link or load it. Names and arguments are those of the interface;
 * what it does beyond asking the job shell is to refuse what that cannot do.
 */
#include "wire.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Whoever loads a libpmi.so and finds this symbol knows whose it is. */
__attribute__((visibility("default"))) const int flux_pmi_library = 1;

#define EXPORT __attribute__((visibility("default")))
#define NEED_INIT \
  if (!pmi.initialized) return RESULT_NOT_INITIALIZED

EXPORT int PMI_Init(int *spawned) {
  int result = wire_initialize();
  if (result == RESULT_OK && spawned != NULL) *spawned = 0;
  return result;
}

EXPORT int PMI_Initialized(int *initialized) {
  if (initialized == NULL) return RESULT_INVALID_ARGUMENT;
  *initialized = pmi.initialized;
  return RESULT_OK;
}

EXPORT int PMI_Finalize(void) { return wire_finalize(); }

static int tell(int *to, int number) {
  NEED_INIT;
  if (to == NULL) return RESULT_INVALID_ARGUMENT;
  *to = number;
  return RESULT_OK;
}

EXPORT int PMI_Get_size(int *size) { return tell(size, pmi.size); }
EXPORT int PMI_Get_rank(int *rank) { return tell(rank, pmi.rank); }
EXPORT int PMI_Get_universe_size(int *size) { return tell(size, pmi.universe); }
EXPORT int PMI_Get_appnum(int *appnum) { return tell(appnum, pmi.appnum); }
EXPORT int PMI_Barrier(void) { return wire_barrier(); }
EXPORT int PMI_Abort(int code, const char message[]) { return wire_abort(code, message); }

EXPORT int PMI_KVS_Get_my_name(char name[], int length) {
  NEED_INIT;
  return wire_copy(name, length, pmi.name);
}

EXPORT int PMI_KVS_Get_name_length_max(int *length) { return tell(length, NAME_MAX_LENGTH); }
EXPORT int PMI_KVS_Get_key_length_max(int *length) { return tell(length, KEY_MAX_LENGTH); }
EXPORT int PMI_KVS_Get_value_length_max(int *length) { return tell(length, VALUE_MAX_LENGTH); }

EXPORT int PMI_KVS_Put(const char kvsname[], const char key[], const char value[]) {
  if (kvsname == NULL) return RESULT_INVALID_ARGUMENT;
  return wire_put(key, value);
}

EXPORT int PMI_KVS_Commit(const char kvsname[]) {
  NEED_INIT;
  return kvsname == NULL ? RESULT_INVALID_ARGUMENT : RESULT_OK;
}

EXPORT int PMI_KVS_Get(const char kvsname[], const char key[], char value[], int length) {
  if (kvsname == NULL) return RESULT_INVALID_ARGUMENT;
  return wire_get(key, value, length, NULL);
}

EXPORT int PMI_Get_id(char id[], int length) { return PMI_KVS_Get_my_name(id, length); }
EXPORT int PMI_Get_kvs_domain_id(char id[], int length) { return PMI_KVS_Get_my_name(id, length); }
EXPORT int PMI_Get_id_length_max(int *length) { return tell(length, NAME_MAX_LENGTH); }

/* Calls back for each rank on the node of this one, by PMI_process_mapping: (vector,(node,nodes,ppn),...) in turns. */
static int for_clique(void (*found)(int rank, void *to), void *to) {
  char text[VALUE_MAX_LENGTH + 1];
  if (wire_get("PMI_process_mapping", text, sizeof(text), NULL) != RESULT_OK) {
    found(pmi.rank, to); /* nothing is known of others */
    return RESULT_OK;
  }
  int own = -1;
  for (int pass = 0; pass < 2; pass++) {
    int rank = 0;
    while (rank < pmi.size) {
      int before = rank;
      for (char *at = strchr(text + 1, '('); at != NULL; at = strchr(at, '(')) {
        int node = (int)strtol(at + 1, &at, 10);
        int nodes = *at == ',' ? (int)strtol(at + 1, &at, 10) : 0;
        int ppn = *at == ',' ? (int)strtol(at + 1, &at, 10) : 0;
        for (int i = 0; i < nodes; i++)
          for (int j = 0; j < ppn && rank < pmi.size; j++, rank++) {
            if (pass == 0 && rank == pmi.rank) own = node + i;
            if (pass == 1 && node + i == own) found(rank, to);
          }
      }
      if (rank == before) return RESULT_FAIL;
    }
  }
  return RESULT_OK;
}

static void count_rank(int rank, void *to) {
  (void)rank;
  ++*(int *)to;
}

struct ranks {
  int *at;
  int left;
};

static void store_rank(int rank, void *to) {
  struct ranks *ranks = to;
  if (ranks->left-- > 0) *ranks->at++ = rank;
}

EXPORT int PMI_Get_clique_size(int *size) {
  NEED_INIT;
  if (size == NULL) return RESULT_INVALID_ARGUMENT;
  *size = 0;
  return for_clique(count_rank, size);
}

EXPORT int PMI_Get_clique_ranks(int ranks[], int length) {
  NEED_INIT;
  if (ranks == NULL) return RESULT_INVALID_ARGUMENT;
  struct ranks stored = {.at = ranks, .left = length};
  int result = for_clique(store_rank, &stored);
  return result == RESULT_OK && stored.left != 0 ? RESULT_INVALID_LENGTH : result;
}

/* What the job shell does not do: names, further processes, key spaces of one's own. */
EXPORT int PMI_Publish_name(const char service[], const char port[]) { return (void)service, (void)port, RESULT_FAIL; }
EXPORT int PMI_Unpublish_name(const char service[]) { return (void)service, RESULT_FAIL; }
EXPORT int PMI_Lookup_name(const char service[], char port[]) { return (void)service, (void)port, RESULT_FAIL; }
EXPORT int PMI_KVS_Create(char name[], int length) { return (void)name, (void)length, RESULT_FAIL; }
EXPORT int PMI_KVS_Destroy(const char name[]) { return (void)name, RESULT_FAIL; }
EXPORT int PMI_KVS_Iter_first(const char n[], char k[], int kl, char v[], int vl) {
  return (void)n, (void)k, (void)kl, (void)v, (void)vl, RESULT_FAIL;
}
EXPORT int PMI_KVS_Iter_next(const char n[], char k[], int kl, char v[], int vl) {
  return (void)n, (void)k, (void)kl, (void)v, (void)vl, RESULT_FAIL;
}
EXPORT int PMI_Spawn_multiple(int count, const char *cmds[], const char **argvs[], const int maxprocs[],
                              const int info_sizes[], const void *infos[], int preput_size, const void *preput,
                              int errors[]) {
  (void)count, (void)cmds, (void)argvs, (void)maxprocs, (void)info_sizes, (void)infos, (void)preput_size, (void)preput;
  return (void)errors, RESULT_FAIL;
}
