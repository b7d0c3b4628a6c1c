import type { ClientBase } from 'pg';
import { expect, test } from 'vitest';
import { listServers } from './operator.js';

test('texts that an agent or a server chose do not speak to the terminal', async () => {
  const rows = [{ name: 'db\u001b]52;c;cm0gLXJm\u0007', error: 'a\nb\u009b31m\u202e', owner: 'Zoë' }];
  const client = { query: () => Promise.resolve({ rows }) } as unknown as ClientBase;
  const [, row, ...more] = (await listServers(client)).split('\n');
  expect(more).toEqual([]);
  expect(row).not.toMatch(/\p{C}/u);
  expect(row).toContain('Zoë');
});
