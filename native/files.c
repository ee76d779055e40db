/* Files: where a sparse one has data. */
#include "flux_native.h"

#include <errno.h>
#include <unistd.h>

/* dataRegion(fd, offset): [start, end] of the next stretch of data from an offset on, or null where there is none */
napi_value flux_data_region(napi_env env, napi_callback_info info) {
  napi_value args[2], region, number;
  size_t count = 2;
  int32_t fd;
  int64_t offset;
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  napi_get_value_int32(env, args[0], &fd);
  napi_get_value_int64(env, args[1], &offset);
  off_t start = lseek(fd, (off_t)offset, SEEK_DATA);
  if (start < 0) {
    /* ENXIO: only a hole follows. A file system that does not know has data everywhere. */
    if (errno == ENXIO) {
      napi_get_null(env, &region);
      return region;
    }
    start = (off_t)offset;
  }
  off_t end = lseek(fd, start, SEEK_HOLE);
  if (end < 0) end = lseek(fd, 0, SEEK_END);
  napi_create_array_with_length(env, 2, &region);
  napi_create_int64(env, (int64_t)start, &number);
  napi_set_element(env, region, 0, number);
  napi_create_int64(env, (int64_t)end, &number);
  napi_set_element(env, region, 1, number);
  return region;
}
