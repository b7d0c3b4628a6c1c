/*
 * Tests of the masking of secrets: known statements, and any bytes (as a libFuzzer target where FUZZ is defined). Built
 * with ASan and UBSan and run by mask.test.ts.
 * In: nothing, or the fuzzer's bytes. Out: exit status 0, or the first case that failed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/prof_mask.h"

/* What holds for any bytes: spans ascend within the text, the copy fits and differs only there. */
static void any_bytes(const char *bytes, size_t n, unsigned mode) {
  char *text = malloc(n == 0 ? 1 : n), *out = malloc(n == 0 ? 1 : n);
  if (n != 0) memcpy(text, bytes, n);
  ProfSecrets secrets;
  bool found = prof_mask_find(&secrets, text, n, mode);
  if (found != (secrets.count > 0)) abort();
  size_t before = 0;
  for (int i = 0; i < secrets.count; i++) {
    if (secrets.at[i].start < before || secrets.at[i].end <= secrets.at[i].start || secrets.at[i].end > n) abort();
    before = secrets.at[i].end;
  }
  size_t written = prof_mask_write(out, text, n, &secrets);
  if (written > n || (!found && (written != n || memcmp(out, text, n) != 0))) abort();
  (void)prof_mask_repeats(out, written, text, &secrets);
  bool suspect = prof_mask_suspect(text, n), slow = false;
  for (size_t i = 0; i + 1 < n; i++)
    slow |= ((text[i] | 0x20) == 's' && (text[i + 1] | 0x20) == 's') || (text[i] == '/' && text[i + 1] == '/');
  if (suspect != slow) abort();
  free(out);
  free(text);
}

#ifdef FUZZ
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n) {
  if (n > 0) any_bytes((const char *)data + 1, n - 1, data[0] & 3);
  return 0;
}
#else

static int failed;

/* S stands for the secret in text; expected has "***" there. NULL: nothing is masked. */
static void check(const char *text, const char *expected) {
  static const char *const secrets[] = {"S3cret", "x9"};
  for (size_t s = 0; s < 2; s++) {
    char with[1000], want[1000];
    size_t n = 0, m = 0;
    for (const char *p = text; *p != 0; p++)
      if (*p == '@' && p[1] == 'S') {
        n += (size_t)sprintf(with + n, "%s", secrets[s]);
        p++;
      } else
        with[n++] = *p;
    with[n] = 0;
    if (expected == NULL) {
      memcpy(want, with, n + 1);
      m = n;
    } else
      for (const char *p = expected; *p != 0; p++)
        if (*p == '@' && p[1] == 'S') {
          /* Never longer than it was. */
          m += (size_t)sprintf(want + m, "%s", strlen(secrets[s]) < 3 ? "**" : "***");
          p++;
        } else
          want[m++] = *p;
    want[m] = 0;
    ProfSecrets found;
    char out[1000];
    prof_mask_find(&found, with, n, 0);
    size_t written = prof_mask_write(out, with, n, &found);
    if (written != m || memcmp(out, want, m) != 0) {
      fprintf(stderr, "text:     %s\nexpected: %s\ngot:      %.*s\n", with, want, (int)written, out);
      failed = 1;
    }
    any_bytes(with, n, 0);
    /* Cut anywhere, as a text that is too long is, it shows no more. */
    if (expected != NULL && s == 0)
      for (size_t cut = 0; cut < n; cut++) {
        prof_mask_find(&found, with, cut, 0);
        out[prof_mask_write(out, with, cut, &found)] = 0;
        if (strstr(out, "S3cr") != NULL) {
          fprintf(stderr, "cut at %zu: %s\n", cut, out);
          failed = 1;
        }
      }
  }
}

static void message(const char *text, const char *error, bool repeats) {
  ProfSecrets found;
  prof_mask_find(&found, text, strlen(text), 0);
  if (prof_mask_repeats(error, strlen(error), text, &found) != repeats) {
    fprintf(stderr, "message: %s\n", error);
    failed = 1;
  }
}

int main(void) {
  check("CREATE ROLE bob LOGIN PASSWORD '@S'", "CREATE ROLE bob LOGIN PASSWORD '@S'");
  check("alter user bob with encrypted password '@S' valid until '2030-01-01'",
        "alter user bob with encrypted password '@S' valid until '2030-01-01'");
  check("ALTER ROLE bob/* x */PASSWORD\n--y\nE'@S'", "ALTER ROLE bob/* x */PASSWORD\n--y\nE'@S'");
  check("ALTER ROLE bob PASSWORD E'\\'@S\\''", "ALTER ROLE bob PASSWORD E'***'");
  check("ALTER ROLE bob PASSWORD U&'@S'", "ALTER ROLE bob PASSWORD U&'@S'");
  check("ALTER ROLE bob PASSWORD 'it''s @S'", "ALTER ROLE bob PASSWORD '***'");
  check("ALTER ROLE bob PASSWORD $x$@S$x$", "ALTER ROLE bob PASSWORD $x$@S$x$");
  check("ALTER ROLE bob PASSWORD '@S", "ALTER ROLE bob PASSWORD '@S");
  check("ALTER ROLE bob PASSWORD @S", "ALTER ROLE bob PASSWORD @S");
  check("ALTER ROLE bob PASSWORD \"@S\"", "ALTER ROLE bob PASSWORD \"@S\"");
  check("ALTER ROLE bob PASWORD '@S'", "ALTER ROLE bob PASWORD '@S'");
  check("ALTER ROLE bob PASSWORD NULL", NULL);
  check("ALTER ROLE bob SET search_path = 'a'", NULL);
  check("CREATE USER MAPPING FOR bob SERVER s OPTIONS (user 'u', token '@S')",
        "CREATE USER MAPPING FOR bob SERVER s OPTIONS (user '*', token '@S')");
  check("CREATE SERVER IF NOT EXISTS s TYPE 't' FOREIGN DATA WRAPPER w OPTIONS (ADD secret_key '@S')",
        "CREATE SERVER IF NOT EXISTS s TYPE 't' FOREIGN DATA WRAPPER w OPTIONS (ADD secret_key '@S')");
  check("ALTER SERVER s OPTIONS (SET x '@S')", "ALTER SERVER s OPTIONS (SET x '@S')");
  check("CREATE SUBSCRIPTION s CONNECTION 'host=h password=@S' PUBLICATION p WITH (slot_name = 'kept')",
        "CREATE SUBSCRIPTION s CONNECTION '***' PUBLICATION p WITH (slot_name = 'kept')");
  check("ALTER SUBSCRIPTION s CONNECTION 'host=h password=@S'", "ALTER SUBSCRIPTION s CONNECTION '***'");
  check("ALTER SYSTEM SET primary_conninfo TO 'host=h password=@S'", "ALTER SYSTEM SET primary_conninfo TO '***'");
  check("SELECT set_config('primary_conninfo', 'password=@S', true)",
        "SELECT set_config('primary_conninfo', '***', true)");
  check("SELECT dblink('host=h password=@S user=u', 'SELECT 1')", "SELECT dblink('host=h password=@S user=u', 'SELECT 1')");
  check("SELECT dblink('host=h password = ''@S'' user=u')", "SELECT dblink('host=h password = ''@S'' user=u')");
  check("SELECT dblink($$host=h password=@S$$)", "SELECT dblink($$host=h password=@S$$)");
  check("SELECT f('postgresql://u:@S@h/db', 'x://h:1/')", "SELECT f('postgresql://u:@S@h/db', 'x://h:1/')");
  check("SELECT f('postgresql://h/db?user=u&password=@S&a=b')", "SELECT f('postgresql://h/db?user=u&password=@S&a=b')");
  check("DO $$ BEGIN EXECUTE 'ALTER ROLE x PASSWORD ''@S'''; END $$", "DO $$ BEGIN EXECUTE 'ALTER ROLE x PASSWORD ''@S'''; END $$");
  check("DO $$ BEGIN EXECUTE 'ALTER ROLE x PASSWORD ' || quote_literal('@S'); END $$",
        "DO $$ BEGIN EXECUTE 'ALTER ROLE x PASSWORD ' || quote_literal('@S'); END $$");
  check("DO $$ BEGIN EXECUTE format('ALTER ROLE x PASSWORD %L', '@S'); SELECT 'kept'; END $$",
        "DO $$ BEGIN EXECUTE format('ALTER ROLE x PASSWORD %L', '@S'); SELECT 'kept'; END $$");
  check("DO 'BEGIN EXECUTE ''ALTER ROLE x PASSWORD ''''@S''''''; END'", "DO 'BEGIN EXECUTE ''ALTER ROLE x PASSWORD ''''@S''''''; END'");
  check("SELECT exec(E'ALTER ROLE x PASSWORD \\'@S\\'')", "SELECT exec(E'ALTER ROLE x PASSWORD \\'@S\\'')");
  check("SELECT 1; ALTER ROLE x PASSWORD '@S'; SELECT 'kept'", "SELECT 1; ALTER ROLE x PASSWORD '@S'; SELECT 'kept'");
  check("/* ALTER ROLE x PASSWORD '@S' */ SELECT 1", "/* ALTER ROLE x PASSWORD '@S' */ SELECT 1");
  check("-- don't\nALTER ROLE x PASSWORD '@S'", "-- don't\nALTER ROLE x PASSWORD '@S'");
  check("UPDATE users SET password = '@S' WHERE name = 'kept'", "UPDATE users SET password = '@S' WHERE name = 'kept'");
  check("SELECT * FROM users WHERE password = $1 AND name = 'kept'", NULL);
  check("SELECT * FROM users WHERE password = crypt($1, password)", NULL);
  check("DO $$ BEGIN UPDATE u SET password = crypt(p, s); PERFORM 'kept'; END $$", NULL);
  check("CREATE TABLE users (name text DEFAULT 'kept', password text)", NULL);
  check("SELECT password, 'kept' FROM users", NULL);
  check("SELECT E'a\\'b', 'kept'", NULL);
  check("SET password_encryption = 'md5'", NULL);
  check("$1 = 'kept', $2 = 'host=h password=@S'", "$1 = 'kept', $2 = 'host=h password=@S'");

  message("ALTER ROLE x PASSWORD 'topsecret'", "syntax error at or near \"'topsecret'\"", true);
  message("ALTER ROLE x PASSWORD 'top secret words'", "missing \"=\" after \"SECRET\"", true);
  message("ALTER ROLE x PASSWORD '#!'", "near #!", true);
  message("ALTER ROLE x PASSWORD 'zzz'", "role \"x\" does not exist", false);
  message("SELECT 1", "anything", false);

  unsigned long long state = 88172645463325252ull;
  static const char *const parts[] = {"PASSWORD", " ", "'", "''", "$", "$$", "\\", "--", "/*", "*/", "\n", ";", "=", "x", "password=",
                                      "://u:", "@", "ALTER ROLE ", "OPTIONS", "CREATE SERVER ", "E'", "U&'", "\"", "%", ",", "\xc3\xa9"};
  for (int i = 0; i < 100000; i++) {
    char text[400];
    size_t n = 0;
    while (n < 300) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      if ((state >> 40) % 40 == 0) break;
      n += (size_t)sprintf(text + n, "%s", parts[(state >> 20) % (sizeof parts / sizeof parts[0])]);
    }
    any_bytes(text, n, (unsigned)(state >> 50) & 3);
  }
  return failed;
}
#endif
