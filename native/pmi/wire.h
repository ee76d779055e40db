/* The PMI-1 wire protocol (RFC 13) as a client that waits for its answers: what both libraries are made of. */
#ifndef FLUX_PMI_WIRE_H
#define FLUX_PMI_WIRE_H

#include <stddef.h>

#define NAME_MAX_LENGTH 64
#define KEY_MAX_LENGTH 64
#define VALUE_MAX_LENGTH 1024

/* Results: those of the PMI-1 interface. */
enum {
  RESULT_OK = 0,
  RESULT_FAIL = -1,
  RESULT_NOT_INITIALIZED = 1,
  RESULT_NO_MEMORY = 2,
  RESULT_INVALID_ARGUMENT = 3,
  RESULT_INVALID_KEY = 4,
  RESULT_INVALID_KEY_LENGTH = 5,
  RESULT_INVALID_VALUE = 6,
  RESULT_INVALID_VALUE_LENGTH = 7,
  RESULT_INVALID_LENGTH = 8
};

struct pmi {
  int fd; /* below 0: nobody has started us, we are alone */
  int initialized;
  int rank;
  int size;
  int appnum;
  int universe;
  char name[NAME_MAX_LENGTH + 1];
};

extern struct pmi pmi;

int wire_initialize(void);
int wire_finalize(void);
int wire_abort(int code, const char *message);
int wire_barrier(void);
int wire_put(const char *key, const char *value);
/* The value is cut at `size`; its length goes to `length` where that is not null. */
int wire_get(const char *key, char *value, int size, int *length);
/* Copies a text with its end, or says that there is no room. */
int wire_copy(char *to, int size, const char *text);

#endif
