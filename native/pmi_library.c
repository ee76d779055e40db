/*
 * A PMI library of somebody else, loaded and called: for `flux pmi --method=libpmi`. One library at a time; calls wait for
 * the launcher, so this is for programs that do nothing else.
 */
#include "flux_native.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define VALUE_SIZE 4096
#define NAME_SIZE 256

static void *library;
static int version;

/* Finds a function of the loaded library: `name` without its prefix. */
static void *function_of(const char *name) {
  char symbol[64];
  snprintf(symbol, sizeof(symbol), "%s%s", version == 1 ? "PMI_" : "PMI2_", name);
  return library == NULL ? NULL : dlsym(library, symbol);
}

static napi_value failure(napi_env env, const char *what) {
  napi_throw_error(env, NULL, what);
  return NULL;
}

static void set_number(napi_env env, napi_value object, const char *key, int number) {
  napi_value value;
  napi_create_int32(env, number, &value);
  napi_set_named_property(env, object, key, value);
}

static int initialize(int *rank, int *size, char *name) {
  int spawned = 0, appnum = 0;
  if (version == 2) {
    int (*init)(int *, int *, int *, int *) = function_of("Init");
    int (*get_id)(char *, int) = function_of("Job_GetId");
    if (init == NULL || get_id == NULL) return -1;
    int result = init(&spawned, size, rank, &appnum);
    return result == 0 ? get_id(name, NAME_SIZE) : result;
  }
  int (*init)(int *) = function_of("Init");
  int (*get_rank)(int *) = function_of("Get_rank");
  int (*get_size)(int *) = function_of("Get_size");
  int (*get_name)(char *, int) = function_of("KVS_Get_my_name");
  if (init == NULL || get_rank == NULL || get_size == NULL || get_name == NULL) return -1;
  int result = init(&spawned);
  if (result == 0) result = get_rank(rank);
  if (result == 0) result = get_size(size);
  return result == 0 ? get_name(name, NAME_SIZE) : result;
}

/* pmiOpen(path, version): {isFlux}. Throws with the reason where it cannot be loaded. */
napi_value flux_pmi_open(napi_env env, napi_callback_info info) {
  napi_value args[2], result, is_flux;
  size_t count = 2, length = 0;
  char path[4096];
  int32_t wanted = 1;
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  napi_get_value_string_utf8(env, args[0], path, sizeof(path), &length);
  napi_get_value_int32(env, args[1], &wanted);
  library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (library == NULL) return failure(env, dlerror());
  version = wanted;
  napi_create_object(env, &result);
  napi_get_boolean(env, dlsym(library, "flux_pmi_library") != NULL, &is_flux);
  napi_set_named_property(env, result, "isFlux", is_flux);
  return result;
}

/* pmiInitialize(): {result, rank, size, name} */
napi_value flux_pmi_initialize(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value object, text;
  int rank = 0, size = 1;
  char name[NAME_SIZE] = "";
  int result = initialize(&rank, &size, name);
  napi_create_object(env, &object);
  set_number(env, object, "result", result);
  set_number(env, object, "rank", rank);
  set_number(env, object, "size", size);
  napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &text);
  napi_set_named_property(env, object, "name", text);
  return object;
}

static int call_put(const char *kvsname, const char *key, const char *value) {
  if (version == 2) {
    int (*put)(const char *, const char *) = function_of("KVS_Put");
    return put == NULL ? -1 : put(key, value);
  }
  int (*put)(const char *, const char *, const char *) = function_of("KVS_Put");
  int (*commit)(const char *) = function_of("KVS_Commit");
  int result = put == NULL ? -1 : put(kvsname, key, value);
  return result == 0 && commit != NULL ? commit(kvsname) : result;
}

static int call_get(const char *kvsname, const char *key, char *value) {
  int length = 0, found = 0;
  if (version == 1) {
    int (*get)(const char *, const char *, char *, int) = function_of("KVS_Get");
    return get == NULL ? -1 : get(kvsname, key, value, VALUE_SIZE);
  }
  /* Where the tasks are is no key of the exchange but an attribute of the job. */
  if (strcmp(key, "PMI_process_mapping") == 0) {
    int (*attribute)(const char *, char *, int, int *) = function_of("Info_GetJobAttr");
    int result = attribute == NULL ? -1 : attribute(key, value, VALUE_SIZE, &found);
    return result == 0 && !found ? 4 : result;
  }
  int (*get)(const char *, int, const char *, char *, int, int *) = function_of("KVS_Get");
  return get == NULL ? -1 : get(kvsname, -1, key, value, VALUE_SIZE, &length);
}

/* pmiCall(what, kvsname, key, value): {result, value}; what is "put", "get", "barrier", "finalize" or "abort" */
napi_value flux_pmi_call(napi_env env, napi_callback_info info) {
  napi_value args[4], object, text;
  size_t count = 4, length = 0;
  char what[16] = "", kvsname[NAME_SIZE] = "", key[NAME_SIZE] = "", value[VALUE_SIZE] = "";
  int result = -1;
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  napi_get_value_string_utf8(env, args[0], what, sizeof(what), &length);
  napi_get_value_string_utf8(env, args[1], kvsname, sizeof(kvsname), &length);
  napi_get_value_string_utf8(env, args[2], key, sizeof(key), &length);
  napi_get_value_string_utf8(env, args[3], value, sizeof(value), &length);
  if (strcmp(what, "put") == 0) result = call_put(kvsname, key, value);
  else if (strcmp(what, "get") == 0) result = call_get(kvsname, key, value);
  else if (strcmp(what, "abort") == 0) {
    int (*leave)(int, const char *) = function_of("Abort");
    result = leave == NULL ? -1 : leave(1, value);
  } else {
    int is_barrier = strcmp(what, "barrier") == 0;
    int (*call)(void) = function_of(!is_barrier ? "Finalize" : version == 1 ? "Barrier" : "KVS_Fence");
    result = call == NULL ? -1 : call();
  }
  napi_create_object(env, &object);
  set_number(env, object, "result", result);
  napi_create_string_utf8(env, value, NAPI_AUTO_LENGTH, &text);
  napi_set_named_property(env, object, "value", text);
  return object;
}
