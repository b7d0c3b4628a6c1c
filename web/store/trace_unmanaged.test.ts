/** The form of a server without an agent: what it makes of texts, what it says of wrong ones. */
import { expect, test } from 'vitest';
import { addressOf, emptyServer, readServer, serverFieldOf, warningOf } from './trace_unmanaged.js';

const good = { ...emptyServer, name: ' shop ', host: 'db.example', user: 'me', team: ' ' };

test('texts become the body of a request', () => {
  expect(readServer(good)).toEqual({
    body: {
      name: 'shop',
      host: 'db.example',
      port: 5432,
      database: 'postgres',
      user: 'me',
      sslmode: 'verify-full',
    },
  });
  expect(readServer({ ...good, host: '::1', port: ' 6432 ', team: 'crew' })).toMatchObject({
    body: { host: '::1', port: 6432, team: 'crew' },
  });
});

test.each([
  ['name', ''],
  ['host', ''],
  ['host', '/var/run/postgresql'],
  ['host', 'a,b'],
  ['host', 'postgresql://a'],
  ['port', '0'],
  ['port', '65536'],
  ['port', 'five'],
  ['database', ' '],
  ['user', ''],
] as const)('%s "%s" is refused at its field', (field, value) => {
  const read = readServer({ ...good, [field]: value });
  expect('errors' in read && Object.keys(read.errors)).toEqual([field]);
});

test('a refusal of the server finds its field', () => {
  expect(serverFieldOf('body host: it is one host name')).toBe('host');
  expect(serverFieldOf('host: one name or address')).toBe('host');
  expect(serverFieldOf('owner "ada" or team "x" does not exist')).toBe('team');
  expect(serverFieldOf('this needs the role pem_admin')).toBeUndefined();
});

test('modes that do not prove who the server is are warned of', () => {
  expect(
    ['verify-full', 'verify-ca', 'require', 'disable'].map((mode) => warningOf(mode) !== undefined),
  ).toEqual([...[false, false, true, true]]);
  expect(addressOf({ user: 'me', host: '::1', port: 5432, database: 'shop' })).toBe('me@[::1]:5432/shop');
});
