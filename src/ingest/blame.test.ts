import { expect, test } from 'vitest';
import { PgError } from '../../native/index.js';
import { StepError } from './apply.js';
import { isDataError } from './blame.js';

const blamed = (code: string, message = 'x'): boolean =>
  isDataError(new StepError('probe', new PgError(code, message)));

test('data and statements are blamed on blocks, trouble of the server never', () => {
  for (const code of ['22P02', '23505', '42703', '54000', 'P0001', 'XX000'])
    expect(blamed(code), code).toBe(true);
  for (const code of ['53100', '57P01', '08006', '25006', '40P01', 'XX001', 'XX002', 'connection_lost'])
    expect(blamed(code), code).toBe(false);
  // EDQUOT in PostgreSQL 15, in English and in German.
  expect(blamed('XX000', 'could not extend file "base/16384/17140": Disk quota exceeded')).toBe(false);
  expect(blamed('XX000', 'konnte Datei »"base/16384/17140"« nicht erweitern')).toBe(false);
  expect(isDataError(new Error('no server'))).toBe(false);
});
