/*
 * flux-module-exec PATH ARGS...: runs a broker module that is a shared object (RFC 5) in this process. Started by the broker,
 * with the channel to it in FLUX_MODULE_URI. Without that it is a client of the broker at FLUX_URI, which offers the
 * module's service there for as long as it runs: to try a module out.
 *
 * The module brings its own libflux-core, through which everything goes: this program knows the names of the functions
 * that a loader calls, and nothing else of that library.
 */
#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
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

/* Asks the broker for something and waits for the answer. Ends the program where it is refused. */
static void must_have(void *future, const char *what) {
  int (*result)(void *, const void **) = function_named("flux_future_get");
  void (*destroy)(void *) = function_named("flux_future_destroy");
  if (future == NULL || result(future, NULL) < 0) exit(complain(what, strerror(errno)));
  destroy(future);
}

/* Without a broker that has started it the module is a client of FLUX_URI that offers a service: to try it out. */
static void offer_service(handle *broker, const char *name) {
  int (*attach)(handle *, const char *, void *, void (*)(void *)) = function_named("flux_aux_set");
  void *(*add_service)(handle *, const char *) = function_named("flux_service_register");
  if (attach(broker, "flux::name", strdup(name), free) < 0) exit(complain(name, strerror(errno)));
  must_have(add_service(broker, name), name);
}

/* `/a/b/kvs.so` is `kvs`. */
static char *name_of(const char *path) {
  const char *slash = strrchr(path, '/');
  char *name = strdup(slash == NULL ? path : slash + 1);
  if (name == NULL) exit(complain(path, strerror(ENOMEM)));
  char *suffix = strstr(name, ".so");
  if (suffix != NULL) *suffix = '\0';
  return name;
}

static const char usage[] =
    "Usage: flux-module-exec [OPTIONS] PATH ARGS...\n"
    "  -h, --help             Display this message.\n"
    "      --name=NAME        Override module name\n";

static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {"name", required_argument, NULL, 'n'}, {0}};

int main(int argc, char *argv[]) {
  const char *name = NULL;
  argv[0] = "flux-module-exec";
  /* The + leaves what follows the path to the module. */
  for (int option; (option = getopt_long(argc, argv, "+h", options, NULL)) != -1;) {
    if (option == 'h') return fputs(usage, stdout) < 0;
    if (option != 'n') return fputs("Try `flux-module-exec --help' for more information.\n", stderr), 1;
    name = optarg;
  }
  if (optind == argc) return fputs(usage, stderr), 1;
  const char *path = argv[optind];
  const char *uri = getenv("FLUX_MODULE_URI");
  if (uri == NULL) fputs("flux-module-exec: loading module in test mode\n", stderr);
  library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (library == NULL) return complain("dlopen", dlerror());

  int (*module_main)(handle *, int, char **) = function_named("mod_main");
  handle *(*open_handle)(const char *, int, error_text *) = function_named("flux_open_ex");
  void (*close_handle)(handle *) = function_named("flux_close");
  int (*initialize)(handle *, char **, error_text *) = function_named("flux_module_initialize");
  int (*register_handlers)(handle *, error_text *) = function_named("flux_module_register_handlers");
  int (*finalize)(handle *, int, error_text *) = function_named("flux_module_finalize");

  static error_text error;
  char *arguments = NULL;
  char **words = argv + optind + 1;
  int count = argc - optind - 1;
  handle *broker = open_handle(uri, 0, &error);
  if (broker == NULL) return complain("flux_open", error.text);
  if (uri == NULL) offer_service(broker, name != NULL ? name : name_of(path));
  else if (initialize(broker, &arguments, &error) < 0) return complain("initialization", error.text);
  if (has_wrong_name(broker)) return 1;
  if (register_handlers(broker, &error) < 0) return complain("handlers", error.text);
  if (uri != NULL) words = words_of(arguments == NULL ? NULL : strdup(arguments), &count);
  errno = 0;
  int failure = module_main(broker, count, words) < 0 ? (errno == 0 ? ECONNRESET : errno) : 0;
  if (uri == NULL) {
    close_handle(broker);
    return failure == 0 ? 0 : complain("module failed", strerror(failure));
  }
  if (failure != 0) {
    int (*log_to_broker)(handle *, int, const char *, ...) = function_named("flux_log");
    log_to_broker(broker, LOG_CRIT, "module exiting abnormally");
  }
  if (finalize(broker, failure, &error) < 0) return complain("end", error.text);
  close_handle(broker);
  return 0;
}
