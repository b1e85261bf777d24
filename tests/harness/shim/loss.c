/*
 * A disk that can lose what was not synced and that can be full.
 *
 * Preloaded into the server (LD_PRELOAD). For every file under SHIM_DIR it writes to the log SHIM_LOG what
 * a power cut would leave: C = created, S = synced up to a length, T = truncated, R = renamed, U = removed, D = folder
 * synced, M = mapped writable and shared (which this shim cannot follow; the reader of the log refuses such a run).
 * The harness kills the server and then cuts each file back by this log (src/shim.rs says by which rules). While the
 * file SHIM_FULL exists, writes under SHIM_DIR fail with ENOSPC, the first one after half of its bytes.
 *
 * One log line is one write() to an O_APPEND file, so lines of several threads never mix.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *dir;
static size_t dir_length;
static const char *full_flag;
static int log_fd = -1;
static atomic_int half_written;

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void start(void) {
    dir = getenv("SHIM_DIR");
    full_flag = getenv("SHIM_FULL");
    const char *log = getenv("SHIM_LOG");
    if (dir) dir_length = strlen(dir);
    if (log) log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int ours(const char *path) {
    return dir && strncmp(path, dir, dir_length) == 0 && (path[dir_length] == '/' || path[dir_length] == 0);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return ours(path);
}

/* The absolute name of a path whose last part need not exist. */
static int absolute(int at, const char *path, char *out) {
    char copy[PATH_MAX], copy2[PATH_MAX], parent[PATH_MAX];
    if (path[0] != '/' && at != AT_FDCWD) {
        char base[PATH_MAX];
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t length = readlink(link, base, PATH_MAX - 1);
        if (length < 0) return 0;
        base[length] = 0;
        if (snprintf(copy, sizeof copy, "%s/%s", base, path) >= (int)sizeof copy) return 0;
    } else if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy) {
        return 0;
    }
    strcpy(copy2, copy);
    if (!realpath(dirname(copy), parent)) return 0;
    if (snprintf(out, PATH_MAX, "%s/%s", parent, basename(copy2)) >= PATH_MAX) return 0;
    return ours(out);
}

static void note(char kind, long long length, const char *path, const char *other) {
    int saved = errno;
    char line[2 * PATH_MAX + 64];
    int size = snprintf(line, sizeof line, "%c\t%lld\t%s\t%s\n", kind, length, path, other ? other : "");
    if (log_fd >= 0 && size > 0 && syscall(SYS_write, log_fd, line, (size_t)size) != size) abort();
    errno = saved;
}

static long long size_of(int fd) {
    struct stat info;
    return fstat(fd, &info) == 0 ? (long long)info.st_size : 0;
}

static int is_folder(int fd) {
    struct stat info;
    return fstat(fd, &info) == 0 && S_ISDIR(info.st_mode);
}

/* --- full disk ------------------------------------------------------------------------------------------------------ */

static int disk_full(int fd) {
    char path[PATH_MAX];
    if (!full_flag) return 0;
    int saved = errno;
    int full = syscall(SYS_faccessat, AT_FDCWD, full_flag, F_OK) == 0;
    if (!full) atomic_store(&half_written, 0);
    full = full && path_of(fd, path);
    errno = saved;
    return full;
}

/* How many of `length` bytes still fit: half of the first write after the disk became full, nothing later. */
static size_t room_for(size_t length) {
    return atomic_exchange(&half_written, 1) ? 0 : length / 2;
}

/* --- writes --------------------------------------------------------------------------------------------------------- */

static void written(int fd) {
    char path[PATH_MAX];
    if (log_fd < 0) return;
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_DSYNC) && path_of(fd, path)) note('S', size_of(fd), path, NULL);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(write);
    if (disk_full(fd)) {
        size_t fits = room_for(length);
        if (!fits) return errno = ENOSPC, -1;
        length = fits;
    }
    ssize_t done = real(fd, bytes, length);
    if (done > 0) written(fd);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    REAL(pwrite);
    if (disk_full(fd)) {
        size_t fits = room_for(length);
        if (!fits) return errno = ENOSPC, -1;
        length = fits;
    }
    ssize_t done = real(fd, bytes, length, at);
    if (done > 0) written(fd);
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) { return pwrite(fd, bytes, length, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (disk_full(fd)) return errno = ENOSPC, -1;
    ssize_t done = real(fd, parts, count);
    if (done > 0) written(fd);
    return done;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    REAL(pwritev);
    if (disk_full(fd)) return errno = ENOSPC, -1;
    ssize_t done = real(fd, parts, count, at);
    if (done > 0) written(fd);
    return done;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) { return pwritev(fd, parts, count, at); }

int fallocate(int fd, int mode, off_t at, off_t length) {
    REAL(fallocate);
    if (disk_full(fd)) return errno = ENOSPC, -1;
    return real(fd, mode, at, length);
}

int fallocate64(int fd, int mode, off64_t at, off64_t length) { return fallocate(fd, mode, at, length); }

int posix_fallocate(int fd, off_t at, off_t length) {
    REAL(posix_fallocate);
    return disk_full(fd) ? ENOSPC : real(fd, at, length);
}

int posix_fallocate64(int fd, off64_t at, off64_t length) { return posix_fallocate(fd, at, length); }

/* --- syncs: the length before the call is what is safe after it -------------------------------------------------------- */

static int synced(int fd, int (*real)(int)) {
    char path[PATH_MAX];
    long long length = size_of(fd);
    int result = real(fd);
    if (result == 0 && log_fd >= 0 && path_of(fd, path)) note(is_folder(fd) ? 'D' : 'S', length, path, NULL);
    return result;
}

int fsync(int fd) {
    REAL(fsync);
    return synced(fd, real);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return synced(fd, real);
}

/* sync_file_range promises nothing about metadata or the device's cache, so that it does not count. */

/* --- lengths and names ---------------------------------------------------------------------------------------------- */

int ftruncate(int fd, off_t length) {
    REAL(ftruncate);
    char path[PATH_MAX];
    int result = real(fd, length);
    if (result == 0 && log_fd >= 0 && path_of(fd, path)) note('T', (long long)length, path, NULL);
    return result;
}

int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

static int opened(int existed, int fd, int flags) {
    char path[PATH_MAX];
    if (fd < 0 || log_fd < 0 || !(flags & (O_CREAT | O_TRUNC)) || !path_of(fd, path)) return fd;
    if (!existed) note('C', 0, path, NULL);
    else if (flags & O_TRUNC) note('T', 0, path, NULL);
    return fd;
}

static int exists(int at, const char *path) {
    int saved = errno;
    int there = syscall(SYS_faccessat, at, path, F_OK) == 0;
    errno = saved;
    return there;
}

static int needs_mode(int flags) { return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE; }

static int open_at(int at, const char *path, int flags, mode_t mode) {
    int existed = !(flags & O_CREAT) || exists(at, path);
    int fd = (int)syscall(SYS_openat, at, path, flags, mode);
    return opened(existed, fd, flags);
}

#define OPEN(name, wide) \
    int name(const char *path, int flags, ...) { \
        mode_t mode = 0; \
        if (needs_mode(flags)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
        return open_at(AT_FDCWD, path, (flags) | (wide), mode); \
    }
#define OPENAT(name, wide) \
    int name(int at, const char *path, int flags, ...) { \
        mode_t mode = 0; \
        if (needs_mode(flags)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
        return open_at(at, path, (flags) | (wide), mode); \
    }
OPEN(open, 0)
OPEN(open64, O_LARGEFILE)
OPENAT(openat, 0)
OPENAT(openat64, O_LARGEFILE)

static int renamed(int result, int is_ours, const char *from, const char *to_path, int to_at) {
    char to[PATH_MAX];
    if (result == 0 && log_fd >= 0 && absolute(to_at, to_path, to)) note('R', 0, is_ours ? from : "", to);
    return result;
}

int rename(const char *from, const char *to) {
    char old[PATH_MAX];
    int is_ours = absolute(AT_FDCWD, from, old);
    return renamed((int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0), is_ours, old, to, AT_FDCWD);
}

int renameat(int from_at, const char *from, int to_at, const char *to) {
    char old[PATH_MAX];
    int is_ours = absolute(from_at, from, old);
    return renamed((int)syscall(SYS_renameat2, from_at, from, to_at, to, 0), is_ours, old, to, to_at);
}

int unlinkat(int at, const char *path, int flags) {
    char name[PATH_MAX];
    int is_ours = absolute(at, path, name);
    int result = (int)syscall(SYS_unlinkat, at, path, flags);
    if (result == 0 && is_ours && !(flags & AT_REMOVEDIR)) note('U', 0, name, NULL);
    return result;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int remove(const char *path) {
    int result = unlinkat(AT_FDCWD, path, 0);
    return result == 0 || errno != EISDIR ? result : unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    char name[PATH_MAX];
    int result = (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
    if (result == 0 && log_fd >= 0 && absolute(to_at, to, name)) note('L', 0, name, NULL);
    return result;
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

static void mapped(void *result, int protection, int flags, int fd) {
    char path[PATH_MAX];
    int shared = (flags & MAP_SHARED) || (flags & MAP_SHARED_VALIDATE) == MAP_SHARED_VALIDATE;
    if (result != MAP_FAILED && log_fd >= 0 && fd >= 0 && shared && (protection & PROT_WRITE) && path_of(fd, path))
        note('M', 0, path, NULL);
}

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    void *result = (void *)syscall(SYS_mmap, at, length, protection, flags, fd, offset);
    mapped(result, protection, flags, fd);
    return result;
}

void *mmap64(void *at, size_t length, int protection, int flags, int fd, off64_t offset) {
    return mmap(at, length, protection, flags, fd, offset);
}
