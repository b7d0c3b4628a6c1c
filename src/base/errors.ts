/**
 * Coded errors. Every error that leaves a process (HTTP body, log line, exit of a command, pem.sync) carries one of
 * these codes; the list is the documentation's source and a test compares the two.
 *
 * Four kinds of failure, four treatments: a bug stops the process loudly (plain Error), an operator's mistake stops the
 * start and names the setting (`operator`), outside trouble is counted and waited for (`outside`), corruption is set
 * aside with file and offset (`corrupt`). `refused` is the answer to somebody who may not or asked wrongly.
 */

export type ErrorKind = 'operator' | 'outside' | 'corrupt' | 'refused';

export class PemError extends Error {
  override readonly name = 'PemError';

  /**
   * @param code stable, lower_snake_case, documented in docs/errors.md
   * @param message what is wrong, and what to do about it
   */
  constructor(
    readonly code: string,
    message: string,
    readonly kind: ErrorKind = 'outside',
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** The text of anything thrown, for logs; never a stack, never a connection string. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The stable code of anything thrown: ours, SQLSTATE, errno or 'internal'. */
export function errorCode(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return 'internal';
}
