/*
 * pem-watchdog [--hang-seconds N] [--] worker [arguments...]
 *
 * Keeps one worker process alive. In: signals, the worker's end, bytes on the heartbeat pipe. Out: the worker, one line
 * on stderr for each thing that happens. It owns the pipe's read end; the write end's number is the worker's
 * PEM_HEARTBEAT_FD, the number of restarts so far its PEM_WATCHDOG_RESTARTS.
 *
 * 1. A worker that dies is restarted at once. One that dies YOUNG (under 10 s) is restarted at once three times running;
 *    then it waits 1, 2, 4, 8, 16, 32, 60, 60, ... seconds. A worker that grew older starts the count afresh.
 * 2. No byte on the pipe for N s (default 30, 0 = never mind): SIGKILL to the worker and its process group, restart.
 *    The pipe is read before it is judged, and a watchdog that was itself stopped gives the worker N s more.
 * 3. SIGTERM and SIGINT are passed on and end the watchdog with the worker and with its exit status (128 + signal);
 *    SIGHUP and SIGUSR1 are passed on.
 * 4. The worker dies with the watchdog, whatever kills that. It has a process group of its own, so that Ctrl-C reaches it
 *    once, through 3.
 * 5. A worker program that cannot be started the first time ends the watchdog with status 127.
 * 6. No memory is allocated after the start. A log line that the reader of stderr has no room for is dropped.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { YOUNG_MS = 10000, FREE_RESTARTS = 3, LONGEST_WAIT_S = 60, LATE_MS = 2000 };

static char fd_variable[40] = "PEM_HEARTBEAT_FD=";
static char restarts_variable[40] = "PEM_WATCHDOG_RESTARTS=0";
static sigset_t watched, inherited;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    char line[512];
    struct timespec t;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &utc);
    size_t used = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &utc);
    used += (size_t)snprintf(line + used, sizeof line - used, ".%03ldZ pem-watchdog[%d] ", t.tv_nsec / 1000000, (int)getpid());
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(line + used, sizeof line - used, format, arguments);
    va_end(arguments);
    used = more < 0 || used + (size_t)more > sizeof line - 2 ? sizeof line - 2 : used + (size_t)more;
    line[used++] = '\n';
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&room, 1, 0) == 1 && write(STDERR_FILENO, line, used) < 0)
        return; /* nobody reads the log: not a reason to stop watching */
}

/* The worker, or -1 where no process can be had now. *beat becomes the read end of its pipe. */
static pid_t start_worker(char **command, int *beat)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    snprintf(fd_variable, sizeof fd_variable, "PEM_HEARTBEAT_FD=%d", ends[1]);
    pid_t watchdog = getpid(), worker = fork();
    if (worker == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != watchdog) /* it died between fork and prctl: nobody would tell us */
            _exit(1);
        fcntl(ends[1], F_SETFD, 0);
        signal(SIGPIPE, SIG_DFL);
        sigprocmask(SIG_SETMASK, &inherited, NULL);
        execvp(command[0], command);
        say("cannot start %s: %s", command[0], strerror(errno));
        _exit(127);
    }
    close(ends[1]);
    if (worker < 0) {
        close(ends[0]);
        return -1;
    }
    setpgid(worker, worker); /* both sides do it: a group kill must not come too early */
    *beat = ends[0];
    return worker;
}

static int64_t wait_after(int young)
{
    int doublings = young - FREE_RESTARTS - 1;
    if (doublings < 0)
        return 0;
    return 1000 * (int64_t)(doublings > 5 ? LONGEST_WAIT_S : 1 << doublings);
}

static long seconds(const char *text)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    return errno != 0 || end == text || *end != '\0' || value < 0 || value > 86400 ? -1 : value;
}

int main(int argc, char **argv)
{
    long hang = 30;
    int first = 1;
    if (first + 1 < argc && strcmp(argv[first], "--hang-seconds") == 0) {
        hang = seconds(argv[first + 1]);
        first += 2;
    }
    if (first < argc && strcmp(argv[first], "--") == 0)
        first++;
    if (first >= argc || hang < 0 || argv[first][0] == '-') {
        fputs("usage: pem-watchdog [--hang-seconds 0..86400] [--] worker [arguments...]\n", stderr);
        return 64;
    }
    sigemptyset(&watched);
    const int passed[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD};
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
        sigaddset(&watched, passed[i]);
    sigprocmask(SIG_BLOCK, &watched, &inherited);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* ignored by who started us, the kernel would reap the worker and tell nobody */
    int signals = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0 || putenv(fd_variable) != 0 || putenv(restarts_variable) != 0) {
        perror("pem-watchdog");
        return 71;
    }

    pid_t worker = 0; /* 0: none now */
    int beat = -1, young = 0, stopping = 0;
    unsigned long restarts = 0;
    int64_t started = 0;
    int64_t due = now_ms(); /* with a worker: silence is judged then; without: the next start */
    for (;;) {
        if (worker == 0 && now_ms() >= due) {
            started = now_ms();
            worker = start_worker(argv + first, &beat);
            if (worker < 0) {
                worker = 0;
                due = now_ms() + 1000;
                say("no process for the worker: %s; again in 1 s", strerror(errno));
            } else {
                due = hang == 0 ? INT64_MAX : now_ms() + hang * 1000;
                say("worker %d started, restart %lu", (int)worker, restarts);
            }
        }
        struct pollfd ready[2] = {{.fd = signals, .events = POLLIN}, {.fd = beat, .events = POLLIN}};
        int64_t left = due - now_ms();
        poll(ready, 2, due == INT64_MAX ? -1 : left < 0 ? 0 : (int)left + 1);

        struct signalfd_siginfo signal_in;
        while (read(signals, &signal_in, sizeof signal_in) == (ssize_t)sizeof signal_in) {
            int number = (int)signal_in.ssi_signo;
            if (number == SIGCHLD)
                continue;
            say("signal %d%s", number, worker > 0 ? " passed on" : "");
            stopping |= number == SIGTERM || number == SIGINT;
            if (worker > 0)
                kill(worker, number);
            else if (stopping)
                return 0;
        }

        int64_t now = now_ms();
        if (beat >= 0) {
            char bytes[256];
            ssize_t got, beats = 0;
            while ((got = read(beat, bytes, sizeof bytes)) > 0)
                beats += got;
            if (beats > 0 && hang > 0)
                due = now + hang * 1000;
            if (got == 0) { /* closed by a living worker: silence from here on */
                close(beat);
                beat = -1;
            }
        }

        int status;
        pid_t gone;
        while ((gone = waitpid(-1, &status, WNOHANG)) > 0) {
            if (gone != worker)
                continue; /* a stranger's orphan: we may be process 1 of a container */
            int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
            if (beat >= 0)
                close(beat);
            beat = -1;
            worker = 0;
            if (stopping || (code == 127 && restarts == 0)) {
                say("worker %d ended, status %d; watchdog ends", (int)gone, code);
                return code;
            }
            young = now - started < YOUNG_MS ? young + 1 : 0;
            int64_t wait = wait_after(young);
            due = now + wait;
            snprintf(restarts_variable, sizeof restarts_variable, "PEM_WATCHDOG_RESTARTS=%lu", ++restarts);
            say("worker %d %s %d, died young %d times running; restart in %d s", (int)gone,
                WIFSIGNALED(status) ? "killed by signal" : "ended with status",
                WIFSIGNALED(status) ? WTERMSIG(status) : code, young, (int)(wait / 1000));
        }

        if (worker > 0 && now >= due) {
            if (now - due < LATE_MS) {
                say("worker %d silent for %ld s: SIGKILL", (int)worker, hang);
                kill(-worker, SIGKILL);
                kill(worker, SIGKILL);
            }
            due = now + hang * 1000;
        }
    }
}
