// Shifts the wall clock of a process that loads this library with LD_PRELOAD. The environment
// variable WRONG_CLOCK names a file that contains the number of seconds to add. The monotonic
// clocks are not changed.
//
// The functions call the kernel directly and do not allocate, because an allocator may read the
// clock during its own initialization, as jemalloc does in Debian's redis-server.

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t offset(void) {
    const char *path = getenv("WRONG_CLOCK");
    char text[32];
    int saved = errno;
    long length = -1;
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        length = read(file, text, sizeof text - 1);
        close(file);
    }
    errno = saved;
    if (length <= 0)
        return 0;
    text[length] = '\0';
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        time->tv_sec += offset();
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    int result = syscall(SYS_gettimeofday, time, zone);
    if (result == 0)
        time->tv_sec += offset();
    return result;
}

time_t time(time_t *seconds) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (seconds)
        *seconds = now.tv_sec;
    return now.tv_sec;
}
