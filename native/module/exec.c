/*
 * flux-module-exec PATH: runs a broker module that is a shared object (RFC 5) in this process. Started by the broker, with
 * the channel to it in FLUX_MODULE_URI.
 *
 * The module brings its own libflux-core, through which everything goes: this program knows the names of the functions
 * that a loader calls, and nothing else of that library.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

/* The library writes a text of its own length, with its end, into what it takes for an error. */
typedef struct {
  char text[4096];
} error_text;

typedef void handle;

static void *library;

static int complain(const char *what, const char *why) {
  fprintf(stderr, "flux-module-exec: %s: %s\n", what, why);
  return 1;
}

/* A function of the module, or of a library that it brings. Ends the program where there is none. */
static void *function_named(const char *name) {
  void *found = dlsym(library, name);
  if (found == NULL) exit(complain(name, dlerror()));
  return found;
}

/* The words of a line, ended by NULL. The line is cut up. */
static char **words_of(char *line, int *count) {
  char **words = NULL;
  *count = 0;
  for (char *rest = line, *word; rest != NULL && (word = strtok_r(rest, " ", &rest)) != NULL;) {
    words = realloc(words, (*count + 2) * sizeof(*words));
    if (words == NULL) exit(complain("arguments", strerror(ENOMEM)));
    words[(*count)++] = word;
    words[*count] = NULL;
  }
  return words;
}

/* Modules of old have a name of their own, which is to be the one that they are loaded under. */
static int has_wrong_name(handle *broker) {
  const char **own = dlsym(library, "mod_name");
  if (own == NULL || *own == NULL) return 0;
  const char *(*attached)(handle *, const char *) = function_named("flux_aux_get");
  const char *name = attached(broker, "flux::name");
  if (name == NULL || strcmp(*own, name) == 0) return 0;
  fprintf(stderr, "flux-module-exec: mod_name %s != name %s\n", *own, name);
  return 1;
}

int main(int argc, char *argv[]) {
  if (argc != 2) return complain("usage", "flux-module-exec PATH");
  const char *uri = getenv("FLUX_MODULE_URI");
  if (uri == NULL) return complain(argv[1], "FLUX_MODULE_URI is not set: use flux module load");
  library = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
  if (library == NULL) return complain(argv[1], dlerror());

  int (*module_main)(handle *, int, char **) = function_named("mod_main");
  handle *(*open_handle)(const char *, int) = function_named("flux_open");
  void (*close_handle)(handle *) = function_named("flux_close");
  int (*initialize)(handle *, char **, error_text *) = function_named("flux_module_initialize");
  int (*register_handlers)(handle *, error_text *) = function_named("flux_module_register_handlers");
  int (*finalize)(handle *, int, error_text *) = function_named("flux_module_finalize");

  static error_text error;
  char *arguments = NULL;
  int count;
  handle *broker = open_handle(uri, 0);
  if (broker == NULL) return complain(uri, strerror(errno));
  if (initialize(broker, &arguments, &error) < 0) return complain("initialization", error.text);
  if (has_wrong_name(broker)) return 1;
  if (register_handlers(broker, &error) < 0) return complain("handlers", error.text);
  char **words = words_of(arguments == NULL ? NULL : strdup(arguments), &count);
  errno = 0;
  int failure = module_main(broker, count, words) < 0 ? (errno == 0 ? ECONNRESET : errno) : 0;
  if (failure != 0) {
    int (*log_to_broker)(handle *, int, const char *, ...) = function_named("flux_log");
    log_to_broker(broker, LOG_CRIT, "module exiting abnormally");
  }
  if (finalize(broker, failure, &error) < 0) return complain("end", error.text);
  close_handle(broker);
  return 0;
}
