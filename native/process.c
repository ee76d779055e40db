/*
 * Starting a process from a large one.
 *
 * clone(CLONE_VM | CLONE_VFORK) lends our memory to the child until it executes the program, so the cost does not grow
 * with the heap, and no JavaScript runs in between. The child touches nothing but its plan: it makes system calls and
 * leaves the errno and the stage of a failure in the plan, which the parent reads when it goes on.
 */
#include "flux_native.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#define FLAG_CLOSE_RANGE_CLOEXEC 4u
#define MAX_FDS 32
#define MAX_CPUS 8192
#define STACK_BYTES (64 * 1024)

/* What a descriptor of the child is; 0 and above is a descriptor of ours. The order is that of SpawnDescriptor in
 * src/host/native.ts. */
enum { FD_NULL = -1, FD_PIPE_IN = -2, FD_PIPE_OUT = -3, FD_SOCKET = -4, FD_PTY = -5, FD_CLOSED = -6 };

/* Where the preparation failed; the order is that of SPAWN_STAGES in src/host/native.ts. */
enum { STAGE_NONE, STAGE_RESOURCES, STAGE_SESSION, STAGE_DESCRIPTORS, STAGE_TERMINAL, STAGE_CPUS, STAGE_RLIMITS, STAGE_CWD, STAGE_EXEC };

enum { GROUP_SAME, GROUP_OWN, GROUP_SESSION };

struct plan {
  char **argv;
  char **shell_argv; /* /bin/sh, a place for the script, the arguments */
  char **env;
  const char *cwd;
  const char *path; /* PATH of the child */
  char *candidate;  /* room for a directory of PATH and the program */
  int fds[MAX_FDS];
  int fd_count;
  int group;
  int umask;
  int dies_with_parent;
  pid_t parent;
  cpu_set_t *cpus;
  size_t cpus_bytes;
  struct {
    int resource;
    double value;
  } limits[RLIM_NLIMITS];
  int limit_count;
  int oom_adjust; /* plus 1000; below 0 = as ours */
  int stops; /* before its first instruction */
  int has_terminal;
  volatile int error;
  volatile int stage;
};

static char child_stack[STACK_BYTES] __attribute__((aligned(64)));
static cpu_set_t child_cpus[MAX_CPUS / CPU_SETSIZE];

static int fail(struct plan *plan, int stage) {
  plan->error = errno;
  plan->stage = stage;
  _exit(127);
}

static void place_descriptors(struct plan *plan) {
  /* First out of the way of the numbers to be filled, then into place. */
  for (int i = 0; i < plan->fd_count; i++) {
    int fd = plan->fds[i];
    if (fd < 0 || fd >= plan->fd_count || fd == i) continue;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, plan->fd_count);
    if (moved < 0) fail(plan, STAGE_DESCRIPTORS);
    for (int j = i; j < plan->fd_count; j++)
      if (plan->fds[j] == fd && j != fd) plan->fds[j] = moved;
  }
  for (int i = 0; i < plan->fd_count; i++) {
    int fd = plan->fds[i];
    if (fd < 0) close(i);
    else if (fd != i) {
      if (dup2(fd, i) < 0) fail(plan, STAGE_DESCRIPTORS);
    } else if (fcntl(i, F_SETFD, 0) < 0) fail(plan, STAGE_DESCRIPTORS);
  }
  /* Kernels before 5.11 refuse; there, what Node opened is marked already. */
  syscall(SYS_close_range, (unsigned)plan->fd_count, ~0u, FLAG_CLOSE_RANGE_CLOEXEC);
}

static void apply_limits(struct plan *plan) {
  for (int i = 0; i < plan->limit_count; i++) {
    struct rlimit limit;
    if (getrlimit(plan->limits[i].resource, &limit) < 0) fail(plan, STAGE_RLIMITS);
    rlim_t wanted = plan->limits[i].value < 0 ? RLIM_INFINITY : (rlim_t)plan->limits[i].value;
    limit.rlim_cur = wanted > limit.rlim_max ? limit.rlim_max : wanted;
    if (setrlimit(plan->limits[i].resource, &limit) < 0) fail(plan, STAGE_RLIMITS);
  }
}

/* Written before the program is executed, so that it holds for all it starts. The caller sees whether it was allowed. */
static void adjust_oom(int score) {
  char text[8];
  char *at = text + sizeof(text);
  unsigned rest = (unsigned)(score < 0 ? -score : score);
  do *--at = (char)('0' + rest % 10);
  while ((rest /= 10) > 0);
  if (score < 0) *--at = '-';
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (write(fd, at, (size_t)(text + sizeof(text) - at)) < 0) errno = 0;
  close(fd);
}

/* Executes a file; one without a format that the kernel knows is a script of the shell, as for execvp(3). */
static void execute(struct plan *plan, const char *file) {
  execve(file, plan->argv, plan->env);
  if (errno != ENOEXEC) return;
  plan->shell_argv[1] = (char *)file;
  execve("/bin/sh", plan->shell_argv, plan->env);
}

static void search_and_execute(struct plan *plan) {
  const char *program = plan->argv[0];
  size_t program_length = strlen(program);
  if (strchr(program, '/') != NULL || program_length == 0) {
    if (program_length == 0) errno = ENOENT;
    else execute(plan, program);
    fail(plan, STAGE_EXEC);
  }
  int denied = 0;
  const char *start = plan->path;
  for (;;) {
    const char *end = strchrnul(start, ':');
    size_t length = (size_t)(end - start);
    char *at = plan->candidate;
    /* An empty entry is the working directory. */
    if (length == 0) *at++ = '.';
    else at = mempcpy(at, start, length);
    *at++ = '/';
    memcpy(at, program, program_length + 1);
    execute(plan, plan->candidate);
    if (errno == EACCES) denied = 1;
    else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG && errno != ELOOP && errno != ESTALE)
      fail(plan, STAGE_EXEC);
    if (*end == '\0') break;
    start = end + 1;
  }
  errno = denied ? EACCES : ENOENT;
  fail(plan, STAGE_EXEC);
}

static int run_child(void *argument) {
  struct plan *plan = argument;
  struct sigaction standard = {.sa_handler = SIG_DFL};
  for (int signum = 1; signum < 32; signum++) sigaction(signum, &standard, NULL);
  if (plan->group == GROUP_OWN && setpgid(0, 0) < 0) fail(plan, STAGE_SESSION);
  if (plan->group == GROUP_SESSION && setsid() < 0) fail(plan, STAGE_SESSION);
  place_descriptors(plan);
  if (plan->has_terminal && ioctl(0, TIOCSCTTY, 0) < 0) fail(plan, STAGE_TERMINAL);
  if (plan->cpus != NULL && sched_setaffinity(0, plan->cpus_bytes, plan->cpus) < 0) fail(plan, STAGE_CPUS);
  apply_limits(plan);
  if (plan->umask >= 0) umask((mode_t)plan->umask);
  if (plan->dies_with_parent) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) fail(plan, STAGE_SESSION);
    if (getppid() != plan->parent) _exit(127); /* it died before it could be watched */
  }
  if (chdir(plan->cwd) < 0) fail(plan, STAGE_CWD);
  if (plan->oom_adjust >= 0) adjust_oom(plan->oom_adjust - 1000);
  if (plan->stops && ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0) fail(plan, STAGE_SESSION);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  search_and_execute(plan);
  return 127;
}

/* The other ends of the child's descriptors: `ours` stays with the caller, `theirs` is closed after the start. */
struct ends {
  int ours[MAX_FDS];
  int theirs[MAX_FDS];
};

static int open_null(void) {
  static int null_fd = -1;
  if (null_fd < 0) null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  return null_fd;
}

static int unblock(int fd) { return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

static int open_pty(int *terminal, int rows, int columns) {
  char name[128];
  struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
  int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (master < 0) return -1;
  if (grantpt(master) == 0 && unlockpt(master) == 0 && ptsname_r(master, name, sizeof(name)) == 0) {
    *terminal = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (*terminal >= 0 && ioctl(master, TIOCSWINSZ, &size) == 0 && unblock(master) == 0) return master;
    if (*terminal >= 0) close(*terminal);
    *terminal = -1;
  }
  int error = errno;
  close(master);
  errno = error;
  return -1;
}

static int open_ends(struct plan *plan, struct ends *ends, int rows, int columns) {
  for (int i = 0; i < plan->fd_count; i++) {
    int kind = plan->fds[i], pair[2];
    if (kind >= 0 || kind == FD_CLOSED) continue;
    if (kind == FD_NULL) {
      if ((plan->fds[i] = open_null()) < 0) return -1;
      continue;
    }
    if (kind == FD_PTY) {
      /* One terminal serves all descriptors of this kind; its master is the first one's other end. */
      if (!plan->has_terminal && (ends->ours[i] = open_pty(&ends->theirs[i], rows, columns)) < 0) return -1;
      if (!plan->has_terminal) plan->has_terminal = ends->theirs[i];
      plan->fds[i] = plan->has_terminal;
      continue;
    }
    if (kind == FD_SOCKET ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) : pipe2(pair, O_CLOEXEC)) return -1;
    int child_writes = kind != FD_PIPE_IN;
    ends->ours[i] = pair[child_writes ? 0 : 1];
    ends->theirs[i] = plan->fds[i] = pair[child_writes ? 1 : 0];
    if (unblock(ends->ours[i]) < 0) return -1;
  }
  return 0;
}

static void close_all(const int *fds) {
  for (int i = 0; i < MAX_FDS; i++)
    if (fds[i] >= 0) close(fds[i]);
}

/* The program stops as a traced one does, before its first instruction; it stays so when nobody traces it any more. */
static void leave_stopped(pid_t pid) {
  int status;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return;
  if (WIFSTOPPED(status)) ptrace(PTRACE_DETACH, pid, NULL, (void *)(long)SIGSTOP);
}

/* Runs the plan. Returns the pid, or -1 with error and stage in the plan. */
static pid_t start(struct plan *plan, int *pidfd) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
  pid_t pid = clone(run_child, child_stack + STACK_BYTES, flags, plan, pidfd);
  int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (pid < 0) {
    plan->error = error;
    plan->stage = STAGE_RESOURCES;
    return -1;
  }
  if (plan->stage == STAGE_NONE) {
    if (plan->stops) leave_stopped(pid);
    return pid;
  }
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
  close(*pidfd);
  return -1;
}

/* Cuts a block of strings, each ended by a zero byte, into a vector with `spare` free places before it. */
static char **cut(char *block, size_t length, size_t spare) {
  size_t count = 0, used = spare;
  for (size_t i = 0; i < length; i++) count += block[i] == '\0';
  char **vector = calloc(count + spare + 2, sizeof(char *));
  if (vector == NULL) return NULL;
  for (size_t i = 0; i < length; i += strlen(block + i) + 1) vector[used++] = block + i;
  return vector;
}

static char *string_of(napi_env env, napi_value value, size_t *length) {
  if (napi_get_value_string_utf8(env, value, NULL, 0, length) != napi_ok) return NULL;
  char *text = malloc(*length + 1);
  if (text != NULL) napi_get_value_string_utf8(env, value, text, *length + 1, length);
  return text;
}

/* Reads the numbers of a request: see encodeNumbers in src/host/exec-native.ts. */
static int read_numbers(struct plan *plan, const double *numbers, size_t count, int *rows, int *columns) {
  size_t at = 0;
#define NEXT() (at < count ? numbers[at++] : -1)
  plan->group = (int)NEXT();
  plan->umask = (int)NEXT();
  plan->dies_with_parent = NEXT() > 0;
  plan->parent = getpid();
  *rows = (int)NEXT();
  *columns = (int)NEXT();
  plan->fd_count = (int)NEXT();
  if (plan->fd_count < 3 || plan->fd_count > MAX_FDS) return -1;
  for (int i = 0; i < plan->fd_count; i++) plan->fds[i] = (int)NEXT();
  int cpu_count = (int)NEXT();
  if (cpu_count > 0) {
    plan->cpus = child_cpus;
    plan->cpus_bytes = sizeof(child_cpus);
    CPU_ZERO_S(sizeof(child_cpus), child_cpus);
  }
  for (int i = 0; i < cpu_count; i++) {
    int cpu = (int)NEXT();
    if (cpu < 0 || cpu >= MAX_CPUS) return -1;
    CPU_SET_S(cpu, sizeof(child_cpus), child_cpus);
  }
  plan->limit_count = (int)NEXT();
  if (plan->limit_count < 0 || plan->limit_count > RLIM_NLIMITS) return -1;
  for (int i = 0; i < plan->limit_count; i++) {
    plan->limits[i].resource = (int)NEXT();
    plan->limits[i].value = NEXT();
  }
  plan->oom_adjust = (int)NEXT();
  plan->stops = NEXT() > 0;
#undef NEXT
  return 0;
}

static const char *path_of(char **env) {
  for (; *env != NULL; env++)
    if (strncmp(*env, "PATH=", 5) == 0) return *env + 5;
  return "/bin:/usr/bin";
}

/*
 * spawn(argv block, env block, cwd, numbers: Float64Array, result: Int32Array). Into the result go: pid, or the errno
 * negated; stage; pidfd; then our ends of the child's descriptors, -1 where there is none.
 */
napi_value flux_spawn(napi_env env, napi_callback_info info) {
  napi_value args[5];
  size_t count = 5, argv_length = 0, env_length = 0, cwd_length = 0, number_count = 0, result_count = 0;
  double *numbers = NULL;
  int32_t *result = NULL;
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  napi_get_typedarray_info(env, args[3], NULL, &number_count, (void **)&numbers, NULL, NULL);
  napi_get_typedarray_info(env, args[4], NULL, &result_count, (void **)&result, NULL, NULL);
  if (numbers == NULL || result == NULL || result_count < 3 + MAX_FDS) {
    napi_throw_type_error(env, NULL, "spawn: wrong arguments");
    return NULL;
  }
  struct plan plan = {0};
  struct ends ends;
  int rows = 0, columns = 0, pidfd = -1;
  memset(&ends, 0xff, sizeof(ends));
  char *argv_block = string_of(env, args[0], &argv_length);
  char *env_block = string_of(env, args[1], &env_length);
  char *cwd = string_of(env, args[2], &cwd_length);
  if (argv_block != NULL && env_block != NULL && cwd != NULL) {
    plan.argv = cut(argv_block, argv_length, 0);
    plan.shell_argv = cut(argv_block, argv_length, 1);
    plan.env = cut(env_block, env_length, 0);
  }
  plan.cwd = cwd;
  plan.stage = STAGE_RESOURCES;
  plan.error = ENOMEM;
  pid_t pid = -1;
  if (plan.argv != NULL && plan.shell_argv != NULL && plan.env != NULL) {
    plan.shell_argv[0] = "/bin/sh";
    plan.path = path_of(plan.env);
    plan.candidate = malloc(strlen(plan.path) + argv_length + 4);
    plan.error = EINVAL;
    if (plan.candidate != NULL && plan.argv[0] != NULL && read_numbers(&plan, numbers, number_count, &rows, &columns) == 0) {
      if (open_ends(&plan, &ends, rows, columns) < 0) plan.error = errno;
      else {
        plan.stage = STAGE_NONE;
        pid = start(&plan, &pidfd);
      }
    }
  }
  close_all(ends.theirs);
  if (pid < 0) close_all(ends.ours);
  result[0] = pid < 0 ? -plan.error : pid;
  result[1] = plan.stage;
  result[2] = pidfd;
  memcpy(result + 3, ends.ours, sizeof(ends.ours));
  void *owned[] = {plan.candidate, plan.env, plan.shell_argv, plan.argv, cwd, env_block, argv_block};
  for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++) free(owned[i]);
  return NULL;
}

/* resizePty(master, rows, columns) */
napi_value flux_resize_pty(napi_env env, napi_callback_info info) {
  napi_value args[3];
  size_t count = 3;
  int32_t fd = -1, rows = 0, columns = 0;
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  napi_get_value_int32(env, args[0], &fd);
  napi_get_value_int32(env, args[1], &rows);
  napi_get_value_int32(env, args[2], &columns);
  struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
  ioctl(fd, TIOCSWINSZ, &size);
  return NULL;
}

/* affinity(): the CPU numbers this process may run on */
napi_value flux_affinity(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value list, number;
  cpu_set_t allowed[MAX_CPUS / CPU_SETSIZE];
  uint32_t used = 0;
  napi_create_array(env, &list);
  CPU_ZERO_S(sizeof(allowed), allowed);
  if (sched_getaffinity(0, sizeof(allowed), allowed) < 0) return list;
  for (int cpu = 0; cpu < MAX_CPUS; cpu++) {
    if (!CPU_ISSET_S(cpu, sizeof(allowed), allowed)) continue;
    napi_create_int32(env, cpu, &number);
    napi_set_element(env, list, used++, number);
  }
  return list;
}

/* Kernels before 5.3 have no descriptors of processes: then the addon is of no use. */
int flux_pidfd_works(void) {
  int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
  if (fd < 0) return 0;
  close(fd);
  return 1;
}
