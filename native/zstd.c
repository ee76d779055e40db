/*
 * Compression with a context that is kept. Node makes one for each call and prepares its dictionary anew, which costs
 * twenty times what compressing a kilobyte does. The library is the one within Node, whose executable exports it.
 */
#include "flux_native.h"

#include <dlfcn.h>
#include <stdlib.h>

/* ZSTD_c_compressionLevel, of zstd's stable interface. */
#define COMPRESSION_LEVEL 100

struct compressor {
  void *context;
  size_t (*compress)(void *context, void *to, size_t room, const void *from, size_t length);
  size_t (*bound)(size_t length);
  unsigned (*is_error)(size_t code);
  size_t (*free_context)(void *context);
};

static void finalize(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  struct compressor *it = data;
  it->free_context(it->context);
  free(it);
}

/* Fills a compressor in; 0 where there is no such library, or no memory. */
static int prepare(struct compressor *it, int level, const void *dictionary, size_t length) {
  void *(*create)(void) = dlsym(RTLD_DEFAULT, "ZSTD_createCCtx");
  size_t (*set)(void *, int, int) = dlsym(RTLD_DEFAULT, "ZSTD_CCtx_setParameter");
  size_t (*load)(void *, const void *, size_t) = dlsym(RTLD_DEFAULT, "ZSTD_CCtx_loadDictionary");
  it->compress = dlsym(RTLD_DEFAULT, "ZSTD_compress2");
  it->bound = dlsym(RTLD_DEFAULT, "ZSTD_compressBound");
  it->is_error = dlsym(RTLD_DEFAULT, "ZSTD_isError");
  it->free_context = dlsym(RTLD_DEFAULT, "ZSTD_freeCCtx");
  if (!create || !set || !load || !it->compress || !it->bound || !it->is_error || !it->free_context) return 0;
  if ((it->context = create()) == NULL) return 0;
  if (it->is_error(set(it->context, COMPRESSION_LEVEL, level)) || it->is_error(load(it->context, dictionary, length))) {
    it->free_context(it->context);
    return 0;
  }
  return 1;
}

/* compressor(level, dictionary): undefined where Node's zstd cannot be reached. */
napi_value flux_compressor(napi_env env, napi_callback_info info) {
  napi_value arguments[2], value = NULL;
  size_t count = 2, length;
  int level;
  void *dictionary;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  napi_get_value_int32(env, arguments[0], &level);
  napi_get_typedarray_info(env, arguments[1], NULL, &length, &dictionary, NULL, NULL);
  struct compressor *it = malloc(sizeof *it);
  if (it == NULL) return NULL;
  if (!prepare(it, level, dictionary, length)) {
    free(it);
    return NULL;
  }
  if (napi_create_external(env, it, finalize, NULL, &value) != napi_ok) finalize(env, it, NULL);
  return value;
}

/* compress(compressor, data): a frame. */
napi_value flux_compress(napi_env env, napi_callback_info info) {
  napi_value arguments[2], value = NULL;
  size_t count = 2, length;
  void *data, *external;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  napi_get_value_external(env, arguments[0], &external);
  napi_get_typedarray_info(env, arguments[1], NULL, &length, &data, NULL, NULL);
  struct compressor *it = external;
  size_t room = it->bound(length);
  void *frame = malloc(room);
  size_t size = frame == NULL ? 0 : it->compress(it->context, frame, room, data, length);
  if (frame == NULL || it->is_error(size)) napi_throw_error(env, NULL, "no memory for compression");
  else napi_create_buffer_copy(env, size, frame, NULL, &value);
  free(frame);
  return value;
}
