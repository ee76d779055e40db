/*
 * A task of a job talks to its job shell over the socket PMI_FD. One request is under way at a time, each a line; the
 * answer is a line of `key=value` words in any order, the value last. Without PMI_FD the program is alone: what it puts
 * is what it gets.
 */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_LENGTH (NAME_MAX_LENGTH + KEY_MAX_LENGTH + VALUE_MAX_LENGTH + 128)

struct pmi pmi = {.fd = -1, .size = 1};

struct entry {
  struct entry *next;
  char *value;
  char key[];
};

static struct entry *own_entries; /* of a program that is alone */
static char line[LINE_MAX_LENGTH + 1];
static char received[LINE_MAX_LENGTH];
static size_t received_length;

static int number_of(const char *variable, int fallback) {
  const char *text = getenv(variable);
  char *end;
  if (text == NULL || *text == '\0') return fallback;
  long number = strtol(text, &end, 10);
  return *end == '\0' ? (int)number : fallback;
}

static int send_text(const char *text, size_t length) {
  while (length > 0) {
    ssize_t count = write(pmi.fd, text, length);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return RESULT_FAIL;
    text += count;
    length -= (size_t)count;
  }
  return RESULT_OK;
}

/* Reads the next line into `line`, without its end. */
static int receive_line(void) {
  for (;;) {
    char *end = memchr(received, '\n', received_length);
    if (end != NULL) {
      size_t length = (size_t)(end - received);
      memcpy(line, received, length);
      line[length] = '\0';
      received_length -= length + 1;
      memmove(received, end + 1, received_length);
      return RESULT_OK;
    }
    if (received_length == sizeof(received)) return RESULT_FAIL;
    ssize_t count = read(pmi.fd, received + received_length, sizeof(received) - received_length);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return RESULT_FAIL;
    received_length += (size_t)count;
  }
}

/* Finds a word of the line; `value` reaches to its end. */
static const char *find_word(const char *key, size_t *length) {
  size_t key_length = strlen(key);
  for (const char *at = line; *at != '\0';) {
    if (strncmp(at, key, key_length) == 0 && at[key_length] == '=') {
      const char *value = at + key_length + 1;
      *length = strcmp(key, "value") == 0 || strcmp(key, "msg") == 0 ? strlen(value) : strcspn(value, " ");
      return value;
    }
    if (strncmp(at, "value=", 6) == 0) return NULL;
    at += strcspn(at, " ");
    at += strspn(at, " ");
  }
  return NULL;
}

static int number_in_line(const char *key, int fallback) {
  size_t length;
  const char *value = find_word(key, &length);
  return value == NULL ? fallback : atoi(value);
}

/* Sends a request and waits for the answer of that name. */
static int ask(const char *request, const char *answer) {
  size_t length;
  if (send_text(request, strlen(request)) != RESULT_OK || receive_line() != RESULT_OK) return RESULT_FAIL;
  const char *command = find_word("cmd", &length);
  if (command == NULL || length != strlen(answer) || strncmp(command, answer, length) != 0) return RESULT_FAIL;
  return number_in_line("rc", RESULT_OK);
}

int wire_copy(char *to, int size, const char *text) {
  size_t length = strlen(text);
  if (to == NULL) return RESULT_INVALID_ARGUMENT;
  if (size < 0 || length + 1 > (size_t)size) return RESULT_INVALID_LENGTH;
  memcpy(to, text, length + 1);
  return RESULT_OK;
}

int wire_initialize(void) {
  size_t length;
  if (pmi.initialized) return RESULT_OK;
  pmi.fd = number_of("PMI_FD", -1);
  pmi.rank = number_of("PMI_RANK", 0);
  pmi.size = number_of("PMI_SIZE", 1);
  pmi.universe = pmi.size;
  if (pmi.fd < 0) {
    strcpy(pmi.name, "singleton");
    pmi.rank = 0;
    pmi.size = pmi.universe = 1;
    pmi.initialized = 1;
    return RESULT_OK;
  }
  int result = ask("cmd=init pmi_version=1 pmi_subversion=1\n", "response_to_init");
  if (result == RESULT_OK) result = ask("cmd=get_maxes\n", "maxes");
  if (result == RESULT_OK) result = ask("cmd=get_universe_size\n", "universe_size");
  if (result == RESULT_OK) pmi.universe = number_in_line("size", pmi.size);
  if (result == RESULT_OK) result = ask("cmd=get_appnum\n", "appnum");
  if (result == RESULT_OK) pmi.appnum = number_in_line("appnum", 0);
  if (result == RESULT_OK) result = ask("cmd=get_my_kvsname\n", "my_kvsname");
  if (result != RESULT_OK) return RESULT_FAIL;
  const char *name = find_word("kvsname", &length);
  if (name == NULL || length > NAME_MAX_LENGTH) return RESULT_FAIL;
  memcpy(pmi.name, name, length);
  pmi.name[length] = '\0';
  pmi.initialized = 1;
  return RESULT_OK;
}

int wire_finalize(void) {
  if (!pmi.initialized) return RESULT_NOT_INITIALIZED;
  int result = pmi.fd < 0 ? RESULT_OK : ask("cmd=finalize\n", "finalize_ack");
  if (pmi.fd >= 0) close(pmi.fd);
  pmi.fd = -1;
  pmi.initialized = 0;
  return result;
}

int wire_abort(int code, const char *message) {
  if (pmi.fd >= 0) {
    char request[LINE_MAX_LENGTH];
    int length = snprintf(request, sizeof(request) - 1, "cmd=abort exitcode=%d%s%s", code,
                          message == NULL || *message == '\0' ? "" : " error_msg=", message == NULL ? "" : message);
    if (length < 0 || (size_t)length > sizeof(request) - 2) length = (int)sizeof(request) - 2;
    for (int i = 0; i < length; i++)
      if (request[i] == '\n') request[i] = ' ';
    request[length++] = '\n';
    if (send_text(request, (size_t)length) == RESULT_OK) receive_line(); /* until we are ended, or it is */
  }
  fprintf(stderr, "PMI_Abort: %s\n", message == NULL ? "" : message);
  exit(code);
}

int wire_barrier(void) {
  if (!pmi.initialized) return RESULT_NOT_INITIALIZED;
  return pmi.fd < 0 ? RESULT_OK : ask("cmd=barrier_in\n", "barrier_out");
}

static struct entry *own_entry(const char *key) {
  struct entry *entry = own_entries;
  while (entry != NULL && strcmp(entry->key, key) != 0) entry = entry->next;
  return entry;
}

static int put_own(const char *key, const char *value) {
  struct entry *entry = own_entry(key);
  char *copy = strdup(value);
  if (copy == NULL) return RESULT_NO_MEMORY;
  if (entry == NULL) {
    entry = calloc(1, sizeof(*entry) + strlen(key) + 1);
    if (entry == NULL) {
      free(copy);
      return RESULT_NO_MEMORY;
    }
    strcpy(entry->key, key);
    entry->next = own_entries;
    own_entries = entry;
  }
  free(entry->value);
  entry->value = copy;
  return RESULT_OK;
}

int wire_put(const char *key, const char *value) {
  char request[LINE_MAX_LENGTH];
  if (!pmi.initialized) return RESULT_NOT_INITIALIZED;
  if (key == NULL || *key == '\0' || strpbrk(key, " \n") != NULL) return RESULT_INVALID_KEY;
  if (strlen(key) > KEY_MAX_LENGTH) return RESULT_INVALID_KEY_LENGTH;
  if (value == NULL || strchr(value, '\n') != NULL) return RESULT_INVALID_VALUE;
  if (strlen(value) > VALUE_MAX_LENGTH) return RESULT_INVALID_VALUE_LENGTH;
  if (pmi.fd < 0) return put_own(key, value);
  snprintf(request, sizeof(request), "cmd=put kvsname=%s key=%s value=%s\n", pmi.name, key, value);
  return ask(request, "put_result");
}

int wire_get(const char *key, char *value, int size, int *length) {
  char request[LINE_MAX_LENGTH];
  const char *found = NULL;
  size_t found_length = 0;
  if (!pmi.initialized) return RESULT_NOT_INITIALIZED;
  if (key == NULL || *key == '\0' || strpbrk(key, " \n") != NULL) return RESULT_INVALID_KEY;
  if (strlen(key) > KEY_MAX_LENGTH) return RESULT_INVALID_KEY_LENGTH;
  if (value == NULL || size < 1) return RESULT_INVALID_VALUE;
  if (pmi.fd < 0) {
    struct entry *entry = own_entry(key);
    if (entry == NULL) return RESULT_INVALID_KEY;
    found = entry->value;
    found_length = strlen(found);
  } else {
    snprintf(request, sizeof(request), "cmd=get kvsname=%s key=%s\n", pmi.name, key);
    int result = ask(request, "get_result");
    if (result != RESULT_OK) return result;
    found = find_word("value", &found_length);
    if (found == NULL) return RESULT_FAIL;
  }
  size_t taken = found_length < (size_t)size ? found_length : (size_t)size - 1;
  memcpy(value, found, taken);
  value[taken] = '\0';
  if (length != NULL) *length = (int)found_length;
  return found_length < (size_t)size ? RESULT_OK : RESULT_INVALID_LENGTH;
}
