/*
 * Records what a process does to its disk, so that a test can work out what a loss of power would have left. The test
 * that uses it compiles it and has it loaded into a process of its own by LD_PRELOAD; it steps between that process
 * and the C library.
 *
 * POWER_LOSS_ROOT is the folder whose files are recorded (an absolute path, without links), POWER_LOSS_RECORD the file
 * to record into, POWER_LOSS_ACKS a file of which each write is recorded as an acknowledgement and not made.
 * POWER_LOSS_SWALLOWED names, in one string, what this disk only pretends to do: "fdatasync", "dsync" (O_DSYNC).
 * POWER_LOSS_DIES_AT is the number of a write with O_DSYNC, from 1, at which the process is killed: what it writes is
 * in the kernel's memory then, and not yet forced.
 *
 * The record is a row of entries: five numbers of 64 bits (kind, token, place, length of the path, length of the
 * bytes), the path below the root, the bytes. Its order is that of the calls: one lock holds over each call that
 * changes a file and its entry. A sync is two entries, its beginning and its end, and so is a write with O_DSYNC;
 * what was recorded before the beginning is safe once the end is recorded. The token joins the two.
 *
 * Blocks that are reserved by a call past the C library show as a length that changed: it is looked at before each
 * write and each sync. Writes through a map are not seen; the store makes none but to its lock file.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { WRITE = 1, LENGTH, SYNC_BEGINS, SYNC_ENDS, CREATE, FOLDER, REMOVE, RENAME, ACKNOWLEDGED };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t new_token(void)
{
	static uint64_t last;
	/* Several processes may add to one record. */
	if (!last)
		last = (uint64_t)getpid() << 32;
	return ++last;
}

/* The length that the record knows, by path. */
static struct length {
	char path[256];
	off_t bytes;
} lengths[64];

static const char *setting(const char *name)
{
	const char *value = getenv(name);
	return value ? value : "";
}

static void *next(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);
	if (!found)
		abort();
	return found;
}

/* The part of a path below the root, or NULL when it is elsewhere. */
static const char *below_root(const char *path)
{
	const char *root = setting("POWER_LOSS_ROOT");
	size_t length = strlen(root);
	if (!length || strncmp(path, root, length) || (path[length] != '/' && path[length] != 0))
		return NULL;
	return path[length] ? path + length + 1 : path + length;
}

static int path_of(int fd, char path[PATH_MAX])
{
	char link[64];
	int saved = errno;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, PATH_MAX - 1);
	errno = saved;
	path[length < 0 ? 0 : length] = 0;
	return length > 0;
}

/* The path below the root of an open file, or NULL when it is not recorded. */
static const char *watched(int fd, char path[PATH_MAX])
{
	return path_of(fd, path) ? below_root(path) : NULL;
}

static void put(const void *bytes, size_t length)
{
	static int record = -1;
	if (record < 0)
		record = (int)syscall(SYS_openat, AT_FDCWD, setting("POWER_LOSS_RECORD"),
				      O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
	while (length) {
		ssize_t written = syscall(SYS_write, record, bytes, length);
		if (written <= 0)
			abort();
		bytes = (const char *)bytes + written;
		length -= (size_t)written;
	}
}

/* Adds an entry without bytes of its own, or its head when `length` bytes are put after it. The lock is held. */
static void note(enum kind kind, uint64_t token, off_t at, const char *path, size_t length)
{
	int saved = errno;
	uint64_t head[5] = { kind, token, (uint64_t)at, strlen(path), length };
	put(head, sizeof head);
	put(path, strlen(path));
	errno = saved;
}

/* Notes that a file's length is not the one that the record knows. */
static void note_length(int fd, const char *path, int is_known)
{
	struct stat now;
	if (fstat(fd, &now) || !S_ISREG(now.st_mode))
		return;
	for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++) {
		struct length *length = &lengths[n];
		if (!length->path[0] && strlen(path) < sizeof length->path)
			strcpy(length->path, path);
		if (strcmp(length->path, path))
			continue;
		if (!is_known && length->bytes != now.st_size)
			note(LENGTH, 0, now.st_size, path, 0);
		length->bytes = now.st_size;
		return;
	}
	abort();
}

static int is_swallowed(const char *what)
{
	return strstr(setting("POWER_LOSS_SWALLOWED"), what) != NULL;
}

static int force(const char *name, int fd)
{
	int (*call)(int) = next(name);
	char buffer[PATH_MAX];
	const char *path = watched(fd, buffer);
	if (!path)
		return call(fd);
	if (is_swallowed(name))
		return 0;
	pthread_mutex_lock(&lock);
	note_length(fd, path, 0);
	uint64_t token = new_token();
	note(SYNC_BEGINS, token, 0, path, 0);
	pthread_mutex_unlock(&lock);
	int result = call(fd);
	pthread_mutex_lock(&lock);
	if (!result)
		note(SYNC_ENDS, token, 0, path, 0);
	pthread_mutex_unlock(&lock);
	return result;
}

int fdatasync(int fd)
{
	return force("fdatasync", fd);
}

int fsync(int fd)
{
	return force("fsync", fd);
}

/* Writes through the next library; `at` is negative for the file's own place. */
static ssize_t plain(int fd, const struct iovec *parts, int count, off_t at)
{
	static ssize_t (*call)(int, const struct iovec *, int);
	static ssize_t (*call_at)(int, const struct iovec *, int, off_t);
	if (!call || !call_at) {
		call = next("writev");
		call_at = next("pwritev");
	}
	return at < 0 ? call(fd, parts, count) : call_at(fd, parts, count, at);
}

static void put_parts(const struct iovec *parts, size_t length)
{
	for (; length; parts++) {
		size_t some = parts->iov_len < length ? parts->iov_len : length;
		put(parts->iov_base, some);
		length -= some;
	}
}

/* The entry is made before the write returns, so what is forced by it has its beginning before and its end after. */
static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t at)
{
	char buffer[PATH_MAX];
	if (!path_of(fd, buffer))
		return plain(fd, parts, count, at);
	if (!strcmp(buffer, setting("POWER_LOSS_ACKS"))) {
		pthread_mutex_lock(&lock);
		note(ACKNOWLEDGED, 0, 0, "", parts->iov_len);
		put(parts->iov_base, parts->iov_len);
		pthread_mutex_unlock(&lock);
		return (ssize_t)parts->iov_len;
	}
	const char *path = below_root(buffer);
	if (!path)
		return plain(fd, parts, count, at);
	int flags = fcntl(fd, F_GETFL);
	if (flags & O_APPEND)
		abort(); /* The store has no such file. */
	pthread_mutex_lock(&lock);
	note_length(fd, path, 0);
	off_t place = at < 0 ? lseek(fd, 0, SEEK_CUR) : at;
	ssize_t result = plain(fd, parts, count, at);
	int is_forced = (flags & O_DSYNC) && !is_swallowed("dsync");
	if (result > 0) {
		uint64_t token = is_forced ? new_token() : 0;
		note(WRITE, token, place, path, (size_t)result);
		put_parts(parts, (size_t)result);
		if (is_forced) {
			static long forced;
			if (++forced == atol(setting("POWER_LOSS_DIES_AT"))) {
				kill(getpid(), SIGKILL);
				pause();
			}
			note(SYNC_ENDS, token, 0, path, 0);
		}
		note_length(fd, path, 1);
	}
	pthread_mutex_unlock(&lock);
	return result;
}

ssize_t write(int fd, const void *bytes, size_t length)
{
	struct iovec part = { (void *)bytes, length };
	return write_parts(fd, &part, 1, -1);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	return write_parts(fd, parts, count, -1);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at)
{
	struct iovec part = { (void *)bytes, length };
	return write_parts(fd, &part, 1, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at)
{
	return pwrite(fd, bytes, length, (off_t)at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
	return write_parts(fd, parts, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at)
{
	return write_parts(fd, parts, count, (off_t)at);
}

int ftruncate(int fd, off_t bytes)
{
	int (*call)(int, off_t) = next("ftruncate");
	char buffer[PATH_MAX];
	const char *path = watched(fd, buffer);
	pthread_mutex_lock(&lock);
	int result = call(fd, bytes);
	if (path && !result)
		note_length(fd, path, 0);
	pthread_mutex_unlock(&lock);
	return result;
}

int ftruncate64(int fd, off64_t bytes)
{
	return ftruncate(fd, (off_t)bytes);
}

static int open_file(int folder, const char *name, int flags, mode_t mode)
{
	int (*call)(int, const char *, int, ...) = next("openat");
	if (!(flags & (O_CREAT | O_TRUNC)))
		return call(folder, name, flags, mode);
	pthread_mutex_lock(&lock);
	int is_new = faccessat(folder, name, F_OK, 0) != 0;
	int fd = call(folder, name, flags, mode);
	char buffer[PATH_MAX];
	const char *path = fd < 0 ? NULL : watched(fd, buffer);
	if (path) {
		if (is_new)
			note(CREATE, 0, 0, path, 0);
		note_length(fd, path, is_new);
	}
	pthread_mutex_unlock(&lock);
	return fd;
}

#define MODE_OF(flags, mode)                                          \
	mode_t mode = 0;                                              \
	if ((flags) & (O_CREAT | O_TMPFILE)) {                        \
		va_list rest;                                         \
		va_start(rest, flags);                                \
		mode = va_arg(rest, mode_t);                          \
		va_end(rest);                                         \
	}

int open(const char *name, int flags, ...)
{
	MODE_OF(flags, mode)
	return open_file(AT_FDCWD, name, flags, mode);
}

int open64(const char *name, int flags, ...)
{
	MODE_OF(flags, mode)
	return open_file(AT_FDCWD, name, flags | O_LARGEFILE, mode);
}

/* Notes a change of a folder; `path` is without links and is recorded when it lies below the root. */
static void note_name(enum kind kind, const char *path, const char *to)
{
	const char *below = below_root(path);
	if (!below)
		return;
	note(kind, 0, 0, below, strlen(to));
	put(to, strlen(to));
}

int mkdir(const char *name, mode_t mode)
{
	int (*call)(const char *, mode_t) = next("mkdir");
	char path[PATH_MAX];
	pthread_mutex_lock(&lock);
	int result = call(name, mode);
	if (!result && realpath(name, path))
		note_name(FOLDER, path, "");
	pthread_mutex_unlock(&lock);
	return result;
}

int unlink(const char *name)
{
	int (*call)(const char *) = next("unlink");
	char path[PATH_MAX];
	pthread_mutex_lock(&lock);
	int is_there = realpath(name, path) != NULL;
	int result = call(name);
	if (!result && is_there)
		note_name(REMOVE, path, "");
	pthread_mutex_unlock(&lock);
	return result;
}

int rename(const char *from, const char *to)
{
	int (*call)(const char *, const char *) = next("rename");
	char path[PATH_MAX], new_path[PATH_MAX];
	pthread_mutex_lock(&lock);
	int is_there = realpath(from, path) != NULL;
	int result = call(from, to);
	if (!result && is_there && realpath(to, new_path)) {
		const char *below = below_root(new_path);
		note_name(RENAME, path, below ? below : "");
	}
	pthread_mutex_unlock(&lock);
	return result;
}
