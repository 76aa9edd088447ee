/* Preloaded into what is counted, so that its own code does the same each time.
 *
 * The ring: Valgrind runs one thread at a time, and knows by a fixed list for which system calls the
 * others need not wait; entering a ring is not among them. So what would wait there submits, looks
 * at the ring with ppoll(2) until something is there, and collects it. It looks anew each
 * millisecond: work that the kernel has put off for this thread wakes nobody.
 *
 * The clock: a program that runs fifty times slower finds its connections old and its timers due.
 * Here a microsecond passes from one reading to the next, and a wait that ends with nothing takes as
 * long as it was to take. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

#define SIGNALS 8 /* bytes of a set of signals */
#define SECOND 1000000000L

static long passed = 1000 * SECOND;

static long enter(long number, long a, long b, long c, long d, long e, long f)
{
    register long fourth __asm__("r10") = d, fifth __asm__("r8") = e, sixth __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
                     : "rcx", "r11", "memory");
    if (result < 0 && result > -4096) {
        errno = -result;
        return -1;
    }
    return result;
}

int clock_gettime(clockid_t which, struct timespec *now)
{
    if (which != CLOCK_MONOTONIC)
        return enter(SYS_clock_gettime, which, (long)now, 0, 0, 0, 0);
    long at = __atomic_add_fetch(&passed, 1000, __ATOMIC_RELAXED);
    now->tv_sec = at / SECOND;
    now->tv_nsec = at % SECOND;
    return 0;
}

/* Whether something comes within a span; without one, it is waited for. */
static int comes(int ring, const struct timespec *span)
{
    struct pollfd polled = { .fd = ring, .events = POLLIN };
    struct timespec look = { .tv_nsec = SECOND / 1000 };
    long left = span ? span->tv_sec * SECOND + span->tv_nsec : 1;
    while (left > 0) {
        if (ppoll(&polled, 1, &look, 0) != 0)
            return 1;
        enter(SYS_io_uring_enter, ring, 0, 0, IORING_ENTER_GETEVENTS, 0, SIGNALS);
        left -= span ? look.tv_nsec : 0;
    }
    __atomic_add_fetch(&passed, span->tv_sec * SECOND + span->tv_nsec, __ATOMIC_RELAXED);
    return 0;
}

long syscall(long number, ...)
{
    va_list rest;
    va_start(rest, number);
    long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long);
    long d = va_arg(rest, long), e = va_arg(rest, long), f = va_arg(rest, long);
    va_end(rest);
    if (number != SYS_io_uring_enter || c == 0)
        return enter(number, a, b, c, d, e, f);

    long submitted = b > 0 ? enter(number, a, b, 0, 0, 0, SIGNALS) : 0;
    if (submitted < 0)
        return -1;
    struct io_uring_getevents_arg *argument = (void *)e;
    int limited = (d & IORING_ENTER_EXT_ARG) && argument && argument->ts;
    int came = comes((int)a, limited ? (void *)(uintptr_t)argument->ts : 0);
    enter(number, a, 0, 0, IORING_ENTER_GETEVENTS, 0, SIGNALS);
    if (!came && submitted == 0) {
        errno = ETIME;
        return -1;
    }
    return submitted;
}
