/*
 * Runs pgbench's statements on one connection that stays open, in blocks of a given length, so that a benchmark can read
 * the backend's processor time while it is idle between two blocks and switch something on or off there. pgbench itself
 * opens new backends for each run.
 *
 * Arguments: conninfo, "prepared" or "simple", "select" or "tpcb", pgbench's scale. Out: the backend's pid in a line. Then, for
 * each line on stdin: a number runs so many transactions and answers the nanoseconds they took; any other text is run as
 * SQL and answers "ok". Ends with stdin; status 1 with the server's message when a statement fails.
 */
#include <libpq-fe.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static PGconn *connection;
static int prepared;
static uint64_t state = 88172645463325252ull;

static uint64_t random_below(uint64_t n) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state % n;
}

static void check(PGresult *result) {
  ExecStatusType status = PQresultStatus(result);
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
    fprintf(stderr, "%s", PQresultErrorMessage(result));
    exit(1);
  }
  PQclear(result);
}

static const char *const texts[][2] = {
    /* with parameters, and as a format for literals */
    {"SELECT abalance FROM pgbench_accounts WHERE aid = $1", "SELECT abalance FROM pgbench_accounts WHERE aid = %s"},
    {"UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2",
     "UPDATE pgbench_accounts SET abalance = abalance + %s WHERE aid = %s"},
    {"UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2",
     "UPDATE pgbench_tellers SET tbalance = tbalance + %s WHERE tid = %s"},
    {"UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2",
     "UPDATE pgbench_branches SET bbalance = bbalance + %s WHERE bid = %s"},
    {"INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP)",
     "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (%s, %s, %s, %s, CURRENT_TIMESTAMP)"},
};
enum { SELECT_BALANCE, UPDATE_ACCOUNT, UPDATE_TELLER, UPDATE_BRANCH, INSERT_HISTORY };

static void run(int which, int count, const char *const *values) {
  static const char *const names[] = {"s0", "s1", "s2", "s3", "s4"};
  if (prepared) {
    check(PQexecPrepared(connection, names[which], count, values, NULL, NULL, 0));
    return;
  }
  char sql[256];
  snprintf(sql, sizeof sql, texts[which][1], values[0], count > 1 ? values[1] : "", count > 2 ? values[2] : "",
           count > 3 ? values[3] : "");
  check(PQexec(connection, sql));
}

static void transaction(int tpcb, uint64_t scale) {
  char aid[24], tid[24], bid[24], delta[24];
  snprintf(aid, sizeof aid, "%llu", (unsigned long long)random_below(100000 * scale) + 1);
  const char *account[] = {aid};
  if (!tpcb) {
    run(SELECT_BALANCE, 1, account);
    return;
  }
  snprintf(tid, sizeof tid, "%llu", (unsigned long long)random_below(10 * scale) + 1);
  snprintf(bid, sizeof bid, "%llu", (unsigned long long)random_below(scale) + 1);
  snprintf(delta, sizeof delta, "%d", (int)random_below(10001) - 5000);
  const char *by_account[] = {delta, aid}, *by_teller[] = {delta, tid}, *by_branch[] = {delta, bid};
  const char *history[] = {tid, bid, aid, delta};
  check(PQexec(connection, "BEGIN"));
  run(UPDATE_ACCOUNT, 2, by_account);
  run(SELECT_BALANCE, 1, account);
  run(UPDATE_TELLER, 2, by_teller);
  run(UPDATE_BRANCH, 2, by_branch);
  run(INSERT_HISTORY, 4, history);
  check(PQexec(connection, "END"));
}

static uint64_t now_ns(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (uint64_t)at.tv_sec * 1000000000ull + (uint64_t)at.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: statement_loop conninfo prepared|simple select|tpcb scale\n");
    return 2;
  }
  connection = PQconnectdb(argv[1]);
  prepared = strcmp(argv[2], "prepared") == 0;
  const int tpcb = strcmp(argv[3], "tpcb") == 0;
  const uint64_t scale = strtoull(argv[4], NULL, 10);
  if (PQstatus(connection) != CONNECTION_OK) {
    fprintf(stderr, "%s", PQerrorMessage(connection));
    return 1;
  }
  if (prepared)
    for (int i = 0; i < 5; i++) {
      char name[8];
      snprintf(name, sizeof name, "s%d", i);
      check(PQprepare(connection, name, texts[i][0], 0, NULL));
    }
  printf("%d\n", PQbackendPID(connection));
  fflush(stdout);
  char line[1024];
  while (fgets(line, sizeof line, stdin) != NULL) {
    char *end = NULL;
    const uint64_t count = strtoull(line, &end, 10);
    if (end != line && *end == '\n') {
      const uint64_t from = now_ns();
      for (uint64_t i = 0; i < count; i++) transaction(tpcb, scale);
      printf("%llu\n", (unsigned long long)(now_ns() - from));
    } else {
      check(PQexec(connection, line));
      puts("ok");
    }
    fflush(stdout);
  }
  PQfinish(connection);
  return 0;
}
