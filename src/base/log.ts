/**
 * The log: one JSON line per event on stderr (pino), level from PEM_LOG_LEVEL. Secrets do not reach it: callers never
 * pass settings, and the redaction list is the second line.
 */
import { pino } from 'pino';

export type Log = pino.Logger;

/**
 * @param program name that stands in every line, for example 'ingest'
 * @param destination where the lines go; default: stderr
 */
export function openLog(program: string, destination?: pino.DestinationStream): Log {
  return pino(
    {
      name: program,
      level: process.env.PEM_LOG_LEVEL ?? 'info',
      base: { name: program, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: {
        paths: ['password', '*.password', 'secret', '*.secret', 'token', '*.token', 'key', '*.key'],
        censor: '***',
      },
    },
    destination ?? pino.destination({ dest: 2, sync: true }),
  );
}
