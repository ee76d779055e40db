/*
 * Descriptors in Node's event loop: streams (pipes, sockets, a terminal's master) and the end of a process.
 *
 * A stream reads one piece per turn, so that a process that prints without end starves nobody. A process's end shows on
 * its pidfd; it is reaped by its pid, which nobody else waits for: libuv waits for its own children only.
 */
#include "flux_native.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#define PIECE_BYTES (64 * 1024)

/* What a stream's callback hears: kind, and the data, or the errno that ended it (0: the end of the data). */
enum { HEARD_DATA, HEARD_END, HEARD_ROOM };

struct watch {
  uv_poll_t poll;
  napi_env env;
  napi_ref callback;
  int fd;
  pid_t pid;
  int events;
  int reads_plainly;
  int closing;
  int owners; /* the loop and the JavaScript value: the last one frees */
};

static char piece[PIECE_BYTES];

static void release(struct watch *watch) {
  if (--watch->owners == 0) free(watch);
}

static void finalize(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  release(data);
}

static void closed(uv_handle_t *handle) {
  struct watch *watch = handle->data;
  close(watch->fd);
  release(watch);
}

static void close_watch(struct watch *watch) {
  if (watch->closing) return;
  watch->closing = 1;
  uv_poll_stop(&watch->poll);
  napi_delete_reference(watch->env, watch->callback);
  uv_close((uv_handle_t *)&watch->poll, closed);
}

/* Calls JavaScript from the loop; an exception there ends the process as any uncaught one. */
static void tell(struct watch *watch, size_t count, napi_value *arguments) {
  napi_env env = watch->env;
  napi_value callback, global, error;
  napi_get_global(env, &global);
  if (napi_get_reference_value(env, watch->callback, &callback) != napi_ok) return;
  if (napi_make_callback(env, NULL, global, callback, count, arguments, NULL) != napi_pending_exception) return;
  if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
}

static void tell_stream(struct watch *watch, int kind, napi_value data, int error) {
  napi_value arguments[2];
  napi_create_int32(watch->env, kind, &arguments[0]);
  arguments[1] = data;
  if (data == NULL) napi_create_int32(watch->env, error, &arguments[1]);
  tell(watch, 2, arguments);
}

static void stream_ready(uv_poll_t *poll, int status, int events);

static void await_events(struct watch *watch, int events) {
  if (watch->closing || watch->events == events) return;
  watch->events = events;
  if (events == 0) uv_poll_stop(&watch->poll);
  else uv_poll_start(&watch->poll, events, stream_ready);
}

/* Reads what there is, without waiting where another process was faster: standard input may be shared, and blocks. */
static ssize_t read_now(struct watch *watch) {
  struct iovec place = {.iov_base = piece, .iov_len = sizeof(piece)};
  if (!watch->reads_plainly) {
    ssize_t length = preadv2(watch->fd, &place, 1, -1, RWF_NOWAIT);
    if (length >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)) return length;
    watch->reads_plainly = 1; /* a terminal, or an old kernel */
  }
  return read(watch->fd, piece, sizeof(piece));
}

/* Reads one piece, and tells it or the end. */
static void read_piece(struct watch *watch) {
  ssize_t length = read_now(watch);
  if (length > 0) {
    napi_value data;
    if (napi_create_buffer_copy(watch->env, (size_t)length, piece, NULL, &data) == napi_ok)
      tell_stream(watch, HEARD_DATA, data, 0);
  } else if (length == 0 || (errno != EAGAIN && errno != EINTR)) {
    /* A terminal whose other side is closed reads as EIO: the end as well. */
    int error = length == 0 ? 0 : errno;
    await_events(watch, watch->events & ~UV_READABLE);
    tell_stream(watch, HEARD_END, NULL, error);
  }
}

static void stream_ready(uv_poll_t *poll, int status, int events) {
  struct watch *watch = poll->data;
  napi_handle_scope scope;
  napi_open_handle_scope(watch->env, &scope);
  /* An error, as when the other side closed with something unread, may stand before data: libuv has stopped, and reading
   * and writing tell what is wrong. */
  int wanted = status < 0 ? watch->events : 0;
  if (status < 0) {
    events = wanted;
    watch->events = 0;
    await_events(watch, wanted);
  }
  if ((events & UV_WRITABLE) && (watch->events & UV_WRITABLE)) {
    await_events(watch, watch->events & ~UV_WRITABLE);
    tell_stream(watch, HEARD_ROOM, NULL, 0);
  }
  if (!watch->closing && (events & UV_READABLE) && (watch->events & UV_READABLE)) read_piece(watch);
  napi_close_handle_scope(watch->env, scope);
}

static struct watch *new_watch(napi_env env, int fd, napi_value callback) {
  uv_loop_t *loop = NULL;
  struct watch *watch = calloc(1, sizeof(*watch));
  if (watch == NULL) return NULL;
  watch->env = env;
  watch->fd = fd;
  watch->poll.data = watch;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok || uv_poll_init(loop, &watch->poll, fd) != 0) {
    free(watch);
    return NULL;
  }
  napi_create_reference(env, callback, 1, &watch->callback);
  return watch;
}

static struct watch *watch_of(napi_env env, napi_value value) {
  void *watch = NULL;
  if (napi_get_value_external(env, value, &watch) != napi_ok) return NULL;
  return ((struct watch *)watch)->closing ? NULL : watch;
}

/* streamOpen(fd, callback): a stream that is not read from yet. The descriptor belongs to it. */
napi_value flux_stream_open(napi_env env, napi_callback_info info) {
  napi_value args[2], handle;
  size_t count = 2;
  int32_t fd = -1;
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  napi_get_value_int32(env, args[0], &fd);
  struct watch *watch = new_watch(env, fd, args[1]);
  if (watch == NULL) {
    napi_throw_error(env, NULL, "streamOpen: the descriptor cannot be watched");
    return NULL;
  }
  watch->owners = 2;
  napi_create_external(env, watch, finalize, NULL, &handle);
  return handle;
}

static napi_value set_interest(napi_env env, napi_callback_info info, int event) {
  napi_value args[2];
  size_t count = 2;
  bool on = false;
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  napi_get_value_bool(env, args[1], &on);
  struct watch *watch = watch_of(env, args[0]);
  if (watch != NULL) await_events(watch, on ? watch->events | event : watch->events & ~event);
  return NULL;
}

/* streamRead(stream, on) */
napi_value flux_stream_read(napi_env env, napi_callback_info info) { return set_interest(env, info, UV_READABLE); }

/* streamAwaitRoom(stream, on): calls back once when writing is possible again */
napi_value flux_stream_await_room(napi_env env, napi_callback_info info) { return set_interest(env, info, UV_WRITABLE); }

/* streamWrite(stream, bytes, offset): how many bytes were taken, or the errno negated */
napi_value flux_stream_write(napi_env env, napi_callback_info info) {
  napi_value args[3], result;
  size_t count = 3, length = 0;
  char *data = NULL;
  uint32_t offset = 0;
  ssize_t written = -EBADF;
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  napi_get_typedarray_info(env, args[1], NULL, &length, (void **)&data, NULL, NULL);
  napi_get_value_uint32(env, args[2], &offset);
  struct watch *watch = watch_of(env, args[0]);
  if (watch != NULL && offset <= length) {
    written = write(watch->fd, data + offset, length - offset);
    if (written < 0) written = errno == EAGAIN || errno == EINTR ? 0 : -errno;
  }
  napi_create_int64(env, written, &result);
  return result;
}

/* streamShutdown(stream): the other side of a socket reads the end */
napi_value flux_stream_shutdown(napi_env env, napi_callback_info info) {
  napi_value args[1];
  size_t count = 1;
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  struct watch *watch = watch_of(env, args[0]);
  if (watch != NULL) shutdown(watch->fd, SHUT_WR);
  return NULL;
}

/* streamClose(stream): no more calls back; the descriptor is closed */
napi_value flux_stream_close(napi_env env, napi_callback_info info) {
  napi_value args[1];
  size_t count = 1;
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  struct watch *watch = watch_of(env, args[0]);
  if (watch != NULL) close_watch(watch);
  return NULL;
}

static void process_ended(uv_poll_t *poll, int status, int events) {
  struct watch *watch = poll->data;
  int wait_status = 0;
  (void)status;
  (void)events;
  pid_t pid = waitpid(watch->pid, &wait_status, WNOHANG);
  if (pid == 0 || (pid < 0 && errno == EINTR)) return;
  napi_handle_scope scope;
  napi_value argument;
  napi_open_handle_scope(watch->env, &scope);
  napi_create_int32(watch->env, pid < 0 ? 0 : wait_status, &argument);
  uv_poll_stop(poll);
  tell(watch, 1, &argument);
  close_watch(watch);
  napi_close_handle_scope(watch->env, scope);
}

/* onExit(pid, pidfd, callback): reaps the process when it ends and calls back with its wait status */
napi_value flux_on_exit(napi_env env, napi_callback_info info) {
  napi_value args[3];
  size_t count = 3;
  int32_t pid = 0, fd = -1;
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  napi_get_value_int32(env, args[0], &pid);
  napi_get_value_int32(env, args[1], &fd);
  struct watch *watch = new_watch(env, fd, args[2]);
  if (watch == NULL) {
    napi_throw_error(env, NULL, "onExit: the process cannot be watched");
    return NULL;
  }
  watch->owners = 1;
  watch->pid = pid;
  uv_poll_start(&watch->poll, UV_READABLE, process_ended);
  return NULL;
}

/* connectUnix(path): a descriptor connected to a unix socket, or the errno negated */
napi_value flux_connect_unix(napi_env env, napi_callback_info info) {
  napi_value args[1], result;
  size_t count = 1, length = 0;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  if (napi_get_value_string_utf8(env, args[0], address.sun_path, sizeof(address.sun_path), &length) != napi_ok) return NULL;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), status = -1;
  if (fd >= 0) {
    do status = connect(fd, (struct sockaddr *)&address, sizeof(address));
    while (status < 0 && errno == EINTR);
  }
  if (status < 0) {
    int error = errno;
    if (fd >= 0) close(fd);
    fd = -error;
  }
  napi_create_int32(env, fd, &result);
  return result;
}

/* handOn(fd): a program that takes the place of this one has the descriptor, too */
napi_value flux_hand_on(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value args[1];
  int32_t fd = -1;
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  napi_get_value_int32(env, args[0], &fd);
  int flags = fcntl(fd, F_GETFD);
  if (flags >= 0) fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC);
  return NULL;
}

/* duplicate(fd): another descriptor of the same file, not inherited by programs; or the errno negated */
napi_value flux_duplicate(napi_env env, napi_callback_info info) {
  napi_value args[1], result;
  size_t count = 1;
  int32_t fd = -1;
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  napi_get_value_int32(env, args[0], &fd);
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  napi_create_int32(env, copy < 0 ? -errno : copy, &result);
  return result;
}

/* peerCredentials(fd): {uid, pid} of a unix socket's other side, or null */
napi_value flux_peer_credentials(napi_env env, napi_callback_info info) {
  napi_value args[1], result, number;
  size_t count = 1;
  int32_t fd = -1;
  struct ucred peer;
  socklen_t length = sizeof(peer);
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  napi_get_value_int32(env, args[0], &fd);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) {
    napi_get_null(env, &result);
    return result;
  }
  napi_create_object(env, &result);
  napi_create_uint32(env, peer.uid, &number);
  napi_set_named_property(env, result, "uid", number);
  napi_create_int32(env, peer.pid, &number);
  napi_set_named_property(env, result, "pid", number);
  return result;
}

#define METHOD(name, function) {name, NULL, function, NULL, NULL, NULL, napi_enumerable, NULL}

NAPI_MODULE_INIT() {
  napi_property_descriptor methods[] = {
      METHOD("spawn", flux_spawn),
      METHOD("onExit", flux_on_exit),
      METHOD("resizePty", flux_resize_pty),
      METHOD("streamOpen", flux_stream_open),
      METHOD("streamRead", flux_stream_read),
      METHOD("streamWrite", flux_stream_write),
      METHOD("streamAwaitRoom", flux_stream_await_room),
      METHOD("streamShutdown", flux_stream_shutdown),
      METHOD("streamClose", flux_stream_close),
      METHOD("connectUnix", flux_connect_unix),
      METHOD("duplicate", flux_duplicate),
      METHOD("handOn", flux_hand_on),
      METHOD("peerCredentials", flux_peer_credentials),
      METHOD("affinity", flux_affinity),
      METHOD("pmiOpen", flux_pmi_open),
      METHOD("pmiInitialize", flux_pmi_initialize),
      METHOD("pmiCall", flux_pmi_call),
      METHOD("dataRegion", flux_data_region),
      METHOD("trimMemory", flux_trim_memory),
      METHOD("compressor", flux_compressor),
      METHOD("compress", flux_compress),
  };
  napi_value works;
  napi_define_properties(env, exports, sizeof(methods) / sizeof(methods[0]), methods);
  napi_get_boolean(env, flux_pidfd_works() != 0, &works);
  napi_set_named_property(env, exports, "canSpawn", works);
  return exports;
}
