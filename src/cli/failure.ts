/**
 * How a command ends badly: one line on stderr with the stable code and what to do, and an exit status: 1 the operator's
 * to mend (also a refusal), 2 the world's, 70 a fault of ours (with its stack, and nothing is hidden).
 */
import { errorCode, PemError } from '../base/errors.js';

/** Exit status of an error. */
export function exitStatus(error: unknown): number {
  if (error instanceof PemError) return error.kind === 'operator' || error.kind === 'refused' ? 1 : 2;
  const code = errorCode(error);
  if (/^(PE|28|42501|42704|42710|55006|22|23)/.test(code) || isForeign(error)) return 1;
  if (isOutside(code)) return 2;
  return 70;
}

/** The line for people. */
export function describeFailure(error: unknown): string {
  const code = errorCode(error);
  // An AggregateError of a connect has an empty message of its own.
  const text =
    error instanceof AggregateError ? String(error.errors[0]?.message ?? error.message) : messageOf(error);
  if (error instanceof PemError) return `pem: ${code}: ${text}`;
  if (exitStatus(error) === 70)
    return `pem: internal: this is a fault of PEM, please report it\n${stackOf(error)}`;
  const hint =
    code === 'ECONNREFUSED' || code === 'ENOENT'
      ? "; is PEM's database running, and does --db name it?"
      : code === '28000' || code === '28P01'
        ? '; pg_hba.conf, pg_ident.conf or PGPASSFILE do not let this user in'
        : code === '42501'
          ? '; use a role that may, for example --db "… user=postgres"'
          : isForeign(error)
            ? '; that database has no schema of PEM, or an older one: run "pem init" there, or name another with --db'
            : '';
  return `pem: ${code}: ${text}${hint}`;
}

function isOutside(code: string): boolean {
  return /^(E[A-Z]+|08...|53...|57...|3D000|55P03|40...)$/.test(code);
}

/** Something of PEM's schema is not there: another database, or one that an upgrade has not reached yet. */
function isForeign(error: unknown): boolean {
  return (
    /^(42P01|42883|42703|3F000)$/.test(errorCode(error)) &&
    /\bpem(_inbox|data|history)?\b/.test(messageOf(error))
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
