/* The session's columns. In, out: prof_tell.h. */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "common/ip.h"
#include "csv_writer.h"
#include "mb/pg_wchar.h"
#include "prof_clock.h"
#include "prof_frame.h"
#include "prof_guard.h"
#include "prof_port.h"
#include "prof_row.h"
#include "prof_tell.h"

char prof_tell_text[PROF_TELL_BYTES + PROF_STEP];
int prof_tell_length = 0;
char prof_tell_application[NAMEDATALEN];
char prof_tell_backend[16];
int prof_tell_backend_length = 0;

static char database[NAMEDATALEN];
static char username[NAMEDATALEN];
static char client[NI_MAXHOST];
static bool looked_up = false;

/* strlcpy is PostgreSQL's own or the C library's, depending on where the server was built. */
static void copy_name(char *to, size_t size, const char *from) {
  size_t n = from == NULL ? 0 : strnlen(from, size - 1);

  if (n > 0) memcpy(to, from, n);
  to[n] = 0;
}

static void look_up(void *arg) {
  copy_name(database, sizeof database, get_database_name(MyDatabaseId));
  copy_name(username, sizeof username, GetUserNameFromId(GetSessionUserId(), true));
}

static void find_names(void) {
  if (MyProcPort != NULL) {
    copy_name(database, sizeof database, MyProcPort->database_name);
    copy_name(username, sizeof username, MyProcPort->user_name);
    if (MyProcPort->raddr.addr.ss_family == AF_UNIX)
      copy_name(client, sizeof client, "[local]");
    else if (pg_getnameinfo_all(&MyProcPort->raddr.addr, MyProcPort->raddr.salen, client, sizeof client, NULL, 0,
                                NI_NUMERICHOST) != 0)
      client[0] = 0;
    looked_up = true;
  } else if (IsTransactionState())
    looked_up = prof_guarded_lightly(look_up, NULL);
}

/* A name, or nothing where it is unknown. */
static char *put_name(char *p, const char *name) {
  if (name[0] != 0) p = csvw_text(p, name, strlen(name));
  *p++ = ',';
  return p;
}

void prof_tell_again(void) {
  char *p = prof_tell_text;

  if (!looked_up) find_names();
  copy_name(prof_tell_application, sizeof prof_tell_application, application_name);
  p = csvw_i64(p, MyProcPid);
  *p++ = ',';
  p = csvw_i64(p, MyStartTimestamp + PROF_EPOCH_US);
  *p++ = ',';
  p = csvw_i64(p, PROF_SLOT);
  *p++ = ',';
  p = put_name(p, database);
  p = put_name(p, username);
  /* An application without a name is known to have none. */
  p = csvw_text(p, prof_tell_application, strlen(prof_tell_application));
  *p++ = ',';
  p = put_name(p, client);
  p = put_name(p, GetDatabaseEncodingName());
  prof_tell_length = (int)(p - prof_tell_text);
  prof_tell_backend_length = (int)(csvw_i64(prof_tell_backend, PROF_VXID_BACKEND(prof_row_proc())) - prof_tell_backend);
  prof_tell_backend[prof_tell_backend_length++] = '/';
}
