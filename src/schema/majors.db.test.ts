/** PostgreSQL 16 changed what CREATEROLE may grant: installation and registration on newer majors, where they can be had. */
import { describe, expect, test } from 'vitest';
import { startCluster } from '../../bench/rig/cluster.js';
import { findMajor } from '../../bench/rig/majors.js';
import { probes } from '../catalog/probes/index.js';
import { installSchema } from './install.js';
import { addTeam, addUser, createToken, setTeam } from './users.js';

const csr = '-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n';

describe.each([17, 18])('PostgreSQL %d', async (major) => {
  const found = await findMajor(major);
  test.runIf('bin' in found)(
    'installs, makes users, teams and agents, and lets pem_web act as users alone',
    async () => {
      if (!('bin' in found)) return;
      const cluster = await startCluster({ bin: found.bin });
      await cluster.query('CREATE DATABASE pem');
      const client = await cluster.client('pem');
      try {
        await installSchema(client, { probes });
        expect((await installSchema(client, { probes })).probes).toEqual([]);
        await addTeam(client, 'crew');
        await addUser(client, { name: 'ann', password: 'long enough', level: 'pem_admin', teams: ['crew'] });
        await addUser(client, { name: 'bob', password: 'long enough', level: 'pem_user' });

        await client.query('SET SESSION AUTHORIZATION pem_web');
        await client.query('SET ROLE ann');
        const token = await createToken(client, {
          displayName: 'alpha',
          owner: 'ann',
          team: 'crew',
          ttlSeconds: 60,
        });
        await client.query('RESET ROLE');
        await expect(client.query('SET ROLE pem_owner')).rejects.toMatchObject({ code: '42501' });
        await expect(client.query('SELECT * FROM pem.target')).rejects.toMatchObject({ code: '42501' });
        await client.query('RESET SESSION AUTHORIZATION');

        await client.query(`SET SESSION AUTHORIZATION ${token.role}`);
        const made = (await client.query('SELECT pem.register($1, $2) AS made', [csr, {}])).rows[0].made;
        await client.query('RESET SESSION AUTHORIZATION');

        await client.query(`SET SESSION AUTHORIZATION ${made.role}`);
        await client.query('SELECT pem.sync($1)', [{ boots: ['00000000-0000-4000-8000-000000000001'] }]);
        await client.query('INSERT INTO pem.inbox VALUES ($1)', [Buffer.alloc(100)]);
        await expect(client.query('SELECT * FROM pem.agent')).rejects.toMatchObject({ code: '42501' });
        await client.query('RESET SESSION AUTHORIZATION');

        const seen = async (user: string): Promise<number> => {
          await client.query(`SET SESSION AUTHORIZATION pem_web; SET ROLE ${user}`);
          const { rows } = await client.query('SELECT * FROM pem.agent_status');
          await client.query('RESET SESSION AUTHORIZATION');
          return rows.length;
        };
        expect([await seen('ann'), await seen('bob')]).toEqual([1, 0]);
        await setTeam(client, 'bob', 'crew', true);
        expect(await seen('bob')).toBe(1);
        await setTeam(client, 'bob', 'crew', false);
        expect(await seen('bob')).toBe(0);

        await client.query('SET SESSION AUTHORIZATION pem_web; SET ROLE ann');
        await client.query('SELECT pem.revoke_agent($1)', [made.agentId]);
        await client.query('RESET SESSION AUTHORIZATION');
        const role = await client.query('SELECT rolcanlogin FROM pg_roles WHERE rolname = $1', [made.role]);
        expect(role.rows).toEqual([{ rolcanlogin: false }]);

        await client.query('SET SESSION AUTHORIZATION pem_ingest');
        expect((await client.query(`SELECT pem_inbox.rotate(1, '0 s') AS done`)).rows[0].done).toMatchObject({
          active: 1,
        });
      } finally {
        await client.end();
        await cluster.stop();
      }
    },
  );
});
