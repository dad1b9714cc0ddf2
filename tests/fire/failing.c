// Preloaded, it counts the calls that write below one folder, and makes one of them fail. See calls.py.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX] = "", failed[PATH_MAX + 32] = "";
static long at = 0, seen = 0;
static int code = 0;
static unsigned char ours[1 << 16];  // descriptors open below the folder: WRITTEN to, or READ (folders are synced so)
enum { NONE, READ, WRITTEN };

void arm(const char *folder, long number, int error) {
  strncpy(root, folder, sizeof root - 1);
  at = number, code = error, seen = 0, failed[0] = 0;
}

long calls_seen(void) { return seen; }
const char *call_failed(void) { return failed; }

static int below(const char *path) {
  char whole[2 * PATH_MAX];
  if (!root[0] || !path) return 0;
  if (path[0] == '/') return !strncmp(path, root, strlen(root));
  if (!getcwd(whole, PATH_MAX)) return 0;
  return !strncmp(whole, root, strlen(root));
}

static int fails(const char *call, const char *path) {
  if (++seen != at) return 0;
  snprintf(failed, sizeof failed, "%s %s", call, path ? path : "");
  errno = code;
  return 1;
}

#define REAL(name, type, ...) \
  static type (*real)(__VA_ARGS__); \
  if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT); }
static int noted(int fd, int mine) {
  if (fd >= 0 && fd < (int)sizeof ours) ours[fd] = mine;
  return fd;
}

#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    REAL(#name, int, const char *, int, ...); \
    va_list more; \
    va_start(more, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
    va_end(more); \
    int mine = !below(path) ? NONE : writes(flags) ? WRITTEN : READ; \
    return mine == WRITTEN && fails("open", path) ? -1 : noted(real(path, flags, mode), mine); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
  int name(int dir, const char *path, int flags, ...) { \
    REAL(#name, int, int, const char *, int, ...); \
    va_list more; \
    va_start(more, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
    va_end(more); \
    int mine = !below(path) ? NONE : writes(flags) ? WRITTEN : READ; \
    return mine == WRITTEN && fails("open", path) ? -1 : noted(real(dir, path, flags, mode), mine); \
  }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name) \
  FILE *name(const char *path, const char *mode) { \
    REAL(#name, FILE *, const char *, const char *); \
    int mine = strpbrk(mode, "wa+") && below(path) ? WRITTEN : NONE; \
    if (mine && fails("open", path)) return NULL; \
    FILE *file = real(path, mode); \
    if (file) noted(fileno(file), mine); \
    return file; \
  }
FOPEN(fopen)
FOPEN(fopen64)

#define KIND(fd) ((fd) >= 0 && (fd) < (int)sizeof ours ? ours[fd] : NONE)
#define OWN(fd) (KIND(fd) == WRITTEN)

int close(int fd) {
  REAL("close", int, int);
  noted(fd, 0);
  return real(fd);
}

ssize_t write(int fd, const void *data, size_t size) {
  REAL("write", ssize_t, int, const void *, size_t);
  return OWN(fd) && fails("write", NULL) ? -1 : real(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *data, int count) {
  REAL("writev", ssize_t, int, const struct iovec *, int);
  return OWN(fd) && fails("write", NULL) ? -1 : real(fd, data, count);
}

#define PWRITE(name, type) \
  ssize_t name(int fd, const void *data, size_t size, type place) { \
    REAL(#name, ssize_t, int, const void *, size_t, type); \
    return OWN(fd) && fails("write", NULL) ? -1 : real(fd, data, size, place); \
  }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define ON_OPEN(name, what) \
  int name(int fd) { \
    REAL(#name, int, int); \
    return KIND(fd) != NONE && fails(what, NULL) ? -1 : real(fd); \
  }
ON_OPEN(fsync, "fsync")
ON_OPEN(fdatasync, "fsync")

#define TRUNCATE(name, type) \
  int name(int fd, type size) { \
    REAL(#name, int, int, type); \
    return OWN(fd) && fails("truncate", NULL) ? -1 : real(fd, size); \
  }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define TWO(name) \
  int name(const char *from, const char *to) { \
    REAL(#name, int, const char *, const char *); \
    return below(to) && fails(#name, to) ? -1 : real(from, to); \
  }
TWO(rename)
TWO(link)

int renameat(int a, const char *from, int b, const char *to) {
  REAL("renameat", int, int, const char *, int, const char *);
  return below(to) && fails("rename", to) ? -1 : real(a, from, b, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
  REAL("linkat", int, int, const char *, int, const char *, int);
  return below(to) && fails("link", to) ? -1 : real(a, from, b, to, flags);
}

#define MODE(name) \
  int name(const char *path, mode_t mode) { \
    REAL(#name, int, const char *, mode_t); \
    return below(path) && fails(#name, path) ? -1 : real(path, mode); \
  }
MODE(mkdir)
MODE(chmod)

int mkdirat(int dir, const char *path, mode_t mode) {
  REAL("mkdirat", int, int, const char *, mode_t);
  return below(path) && fails("mkdir", path) ? -1 : real(dir, path, mode);
}

int fchmodat(int dir, const char *path, mode_t mode, int flags) {
  REAL("fchmodat", int, int, const char *, mode_t, int);
  return below(path) && fails("chmod", path) ? -1 : real(dir, path, mode, flags);
}
