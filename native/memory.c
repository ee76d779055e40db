/* Memory: what the C library keeps of what was freed. */
#include "flux_native.h"

#include <malloc.h>

/* trimMemory(): free pages go back to the system. */
napi_value flux_trim_memory(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  return NULL;
}
