/* What the files of the addon share. All functions run on the thread of Node's main loop, those of zstd.c on any. */
#ifndef FLUX_NATIVE_H
#define FLUX_NATIVE_H

#define _GNU_SOURCE
#define NAPI_VERSION 8
#include <node_api.h>

/* process.c: starting processes */
napi_value flux_spawn(napi_env env, napi_callback_info info);
napi_value flux_resize_pty(napi_env env, napi_callback_info info);
napi_value flux_affinity(napi_env env, napi_callback_info info);
int flux_pidfd_works(void);

/* watch.c: descriptors in the event loop */
napi_value flux_stream_open(napi_env env, napi_callback_info info);
napi_value flux_stream_read(napi_env env, napi_callback_info info);
napi_value flux_stream_write(napi_env env, napi_callback_info info);
napi_value flux_stream_await_room(napi_env env, napi_callback_info info);
napi_value flux_stream_shutdown(napi_env env, napi_callback_info info);
napi_value flux_stream_close(napi_env env, napi_callback_info info);
napi_value flux_connect_unix(napi_env env, napi_callback_info info);
napi_value flux_duplicate(napi_env env, napi_callback_info info);
napi_value flux_hand_on(napi_env env, napi_callback_info info);
napi_value flux_on_exit(napi_env env, napi_callback_info info);
napi_value flux_peer_credentials(napi_env env, napi_callback_info info);

/* pmi_library.c: a PMI library of somebody else */
napi_value flux_pmi_open(napi_env env, napi_callback_info info);
napi_value flux_pmi_initialize(napi_env env, napi_callback_info info);
napi_value flux_pmi_call(napi_env env, napi_callback_info info);

/* files.c: sparse files */
napi_value flux_data_region(napi_env env, napi_callback_info info);

/* memory.c: giving memory back */
napi_value flux_trim_memory(napi_env env, napi_callback_info info);

/* zstd.c: compression with a context that is kept */
napi_value flux_compressor(napi_env env, napi_callback_info info);
napi_value flux_compress(napi_env env, napi_callback_info info);

#endif
