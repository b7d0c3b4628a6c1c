/**
 * Commands from PEM, in the reply of pem.sync(). One entry here for each kind; kinds with work of their own live in
 * agent/tasks/. A command may come twice (its result was lost with the connection): each kind must bear that.
 */
import { errorCode, errorText, PemError } from '../../src/base/errors.js';
import type { Command, CommandResult } from './sync.js';

export interface CommandDoors {
  syncNow(): void;
  renewCertificate(): void;
}

export type CommandKind = (payload: unknown, doors: CommandDoors) => unknown | Promise<unknown>;

export const commandKinds: Readonly<Record<string, CommandKind>> = {
  sync_now: (_payload, doors) => {
    doors.syncNow();
    return {};
  },
  renew_certificate: (_payload, doors) => {
    doors.renewCertificate();
    return {};
  },
};

/** Runs one command; never throws: trouble is the result. */
export async function runCommand(
  command: Command,
  doors: CommandDoors,
  kinds: Readonly<Record<string, CommandKind>> = commandKinds,
): Promise<CommandResult> {
  try {
    const kind = Object.hasOwn(kinds, command.kind) ? kinds[command.kind] : undefined;
    if (kind === undefined) {
      throw new PemError('command_unknown', `this agent knows no command "${command.kind}"`, 'refused');
    }
    return { id: command.id, ok: true, result: await kind(command.payload, doors) };
  } catch (error) {
    return { id: command.id, ok: false, result: { code: errorCode(error), message: errorText(error) } };
  }
}
