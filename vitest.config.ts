import { defineConfig } from 'vitest/config';

// Two speeds: `desk` needs no database and ends within a minute; `full` starts real clusters, processes and a browser.
const database = ['**/*.db.test.ts', '**/*.e2e.test.ts'];
const skip = ['**/node_modules/**', '**/dist/**'];

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'desk',
          include: ['**/*.test.ts'],
          exclude: [...skip, ...database],
          testTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'full',
          include: database,
          exclude: skip,
          testTimeout: 300_000,
          hookTimeout: 300_000,
          globalSetup: ['bench/rig/template.ts'],
          maxWorkers: 2,
          // After the quick ones: a cluster and a browser want the machine for themselves.
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
