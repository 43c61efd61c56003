/*
 * A disk on which one file fails. The test that uses it compiles it and has it loaded into a process of its own by
 * LD_PRELOAD; it steps between that process and the C library.
 *
 * It counts calls on the file FAILING_DISK_FILE (an absolute path, without links). FAILING_DISK_CALLS says which:
 * "forced" are fdatasync, fsync and pwrite on a descriptor with O_DSYNC, "writes" are pwrite, pwritev and writev.
 * The call number FAILING_DISK_AT, from 1, fails, and with FAILING_DISK_EVER=1 all later ones; FAILING_DISK_HOW is
 *   kept   forced: EIO; what was written can be read all the same, as from the page cache
 *   lost   forced: EIO; everything that was written and not forced since has its old content again
 *   full   writes: ENOSPC, and nothing is written
 *   short  writes: half is written, which is no error by itself
 * The first failure makes the file FAILING_DISK_REPORT.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* What a write that is not forced yet replaced; the newest first. */
struct replaced {
	struct replaced *older;
	off_t at;
	size_t length;
	char bytes[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct replaced *unforced;
static long calls;

static const char *setting(const char *name)
{
	const char *value = getenv(name);
	return value ? value : "";
}

static int is(const char *name, const char *value)
{
	return strcmp(setting(name), value) == 0;
}

static void *next(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);
	if (!found)
		abort();
	return found;
}

static ssize_t plain_write(int fd, const void *bytes, size_t length, off_t at)
{
	static ssize_t (*call)(int, const void *, size_t, off_t);
	if (!call)
		call = next("pwrite");
	return call(fd, bytes, length, at);
}

static int is_watched(int fd)
{
	char link[64], path[4096];
	int saved = errno;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, sizeof path - 1);
	errno = saved;
	if (length < 0)
		return 0;
	path[length] = 0;
	return is("FAILING_DISK_FILE", path);
}

/* Counts a call and says whether it is to fail. */
static int fails(const char *kind)
{
	if (!is("FAILING_DISK_CALLS", kind))
		return 0;
	long at = atol(setting("FAILING_DISK_AT"));
	calls++;
	if (calls == at) {
		int report = open(setting("FAILING_DISK_REPORT"), O_CREAT | O_WRONLY, 0600);
		if (report < 0)
			abort();
		close(report);
	}
	return calls == at || (calls > at && is("FAILING_DISK_EVER", "1"));
}

static void remember(int fd, size_t length, off_t at)
{
	struct replaced *old = calloc(1, sizeof *old + length);
	if (!old)
		abort();
	/* Beyond the end of the file there is nothing, which reads as zeros. */
	if (pread(fd, old->bytes, length, at) < 0)
		abort();
	old->at = at;
	old->length = length;
	old->older = unforced;
	unforced = old;
}

/* Ends what is not forced: it is on the disk now, or never will be. */
static void settle(int fd, int is_lost)
{
	while (unforced) {
		struct replaced *old = unforced;
		if (is_lost && plain_write(fd, old->bytes, old->length, old->at) < 0)
			abort();
		unforced = old->older;
		free(old);
	}
}

static int force(const char *name, int fd)
{
	int (*call)(int) = next(name);
	if (!is_watched(fd))
		return call(fd);
	pthread_mutex_lock(&lock);
	int failed = fails("forced");
	int result = failed ? -1 : call(fd);
	settle(fd, failed && is("FAILING_DISK_HOW", "lost"));
	pthread_mutex_unlock(&lock);
	if (failed)
		errno = EIO;
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

static size_t total(const struct iovec *parts, int count)
{
	size_t length = 0;
	for (int part = 0; part < count; part++)
		length += parts[part].iov_len;
	return length;
}

/* Writes the first bytes of all parts, one part after the other. */
static ssize_t write_some(int fd, const struct iovec *parts, int count, size_t wanted, off_t at)
{
	size_t done = 0;
	for (int part = 0; part < count && done < wanted; part++) {
		size_t length = parts[part].iov_len;
		if (length > wanted - done)
			length = wanted - done;
		ssize_t written = plain_write(fd, parts[part].iov_base, length, at + (off_t)done);
		if (written < 0)
			return done ? (ssize_t)done : written;
		done += (size_t)written;
		if ((size_t)written < length)
			break;
	}
	return (ssize_t)done;
}

static ssize_t put(int fd, const struct iovec *parts, int count, off_t at)
{
	size_t length = total(parts, count);
	int is_forced = fcntl(fd, F_GETFL) & O_DSYNC;
	ssize_t result;
	pthread_mutex_lock(&lock);
	if (fails("writes")) {
		result = is("FAILING_DISK_HOW", "short") ? write_some(fd, parts, count, length / 2, at) : -1;
		if (result < 0)
			errno = ENOSPC;
	} else if (is_forced && fails("forced")) {
		if (is("FAILING_DISK_HOW", "kept"))
			write_some(fd, parts, count, length, at);
		result = -1;
		errno = EIO;
	} else {
		if (!is_forced)
			remember(fd, length, at);
		result = write_some(fd, parts, count, length, at);
	}
	pthread_mutex_unlock(&lock);
	return result;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at)
{
	struct iovec part = { (void *)bytes, length };
	return is_watched(fd) ? put(fd, &part, 1, at) : plain_write(fd, bytes, length, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at)
{
	return pwrite(fd, bytes, length, (off_t)at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
	ssize_t (*call)(int, const struct iovec *, int, off_t) = next("pwritev");
	return is_watched(fd) ? put(fd, parts, count, at) : call(fd, parts, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at)
{
	return pwritev(fd, parts, count, (off_t)at);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	ssize_t (*call)(int, const struct iovec *, int) = next("writev");
	off_t at = is_watched(fd) ? lseek(fd, 0, SEEK_CUR) : -1;
	if (at < 0)
		return call(fd, parts, count);
	ssize_t result = put(fd, parts, count, at);
	if (result > 0)
		lseek(fd, at + result, SEEK_SET);
	return result;
}
