/* SIGBUS inside mapped rings; see prof_fault.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "prof_fault.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define GUARDED_MAX 8

typedef struct guarded {
  char *volatile start; /* NULL: free. Set last, taken away first: the handler may come between any two stores */
  size_t bytes;
  volatile sig_atomic_t *flag;
} guarded;

static guarded table[GUARDED_MAX];
static struct sigaction previous;
static bool installed;

/* Faults that are not ours: as if this handler were not there. */
static void pass_on(int number, siginfo_t *info, void *context) {
  if (previous.sa_flags & SA_SIGINFO) {
    previous.sa_sigaction(number, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(number);
  } else {
    /* A hardware fault repeats at once, without us; a signal that was sent is sent again. */
    struct sigaction plain = previous;
    if (info->si_code > 0) plain.sa_handler = SIG_DFL;
    sigaction(number, &plain, NULL);
    installed = false;
    if (info->si_code <= 0) raise(number);
  }
}

static void on_fault(int number, siginfo_t *info, void *context) {
  if (info->si_code > 0) {
    uintptr_t at = (uintptr_t)info->si_addr;
    for (int i = 0; i < GUARDED_MAX; i++) {
      char *start = table[i].start;
      if (start == NULL || at < (uintptr_t)start || at - (uintptr_t)start >= table[i].bytes) continue;
      int kept = errno;
      void *put = mmap(start, table[i].bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      errno = kept;
      if (put == MAP_FAILED) break;
      *table[i].flag = 1;
      return;
    }
  }
  pass_on(number, info, context);
}

bool prof_fault_guard(void *start, size_t bytes, volatile sig_atomic_t *flag) {
  if (!installed) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    action.sa_sigaction = on_fault;
    if (sigaction(SIGBUS, &action, &previous) != 0) return false;
    installed = true;
  }
  for (int i = 0; i < GUARDED_MAX; i++) {
    if (table[i].start != NULL) continue;
    table[i].bytes = bytes;
    table[i].flag = flag;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    table[i].start = start;
    return true;
  }
  return false;
}

void prof_fault_release(const void *start) {
  for (int i = 0; i < GUARDED_MAX; i++)
    if (table[i].start == start) table[i].start = NULL;
}
