/**
 * The probes of this PEM, as pem.probe has them: the only source of table and column names in statements. Read again
 * where the last read is older than a few seconds. Definitions were checked when they were installed.
 */

import type { Pool } from '../base/db.js';
import type { ProbeDefinition } from '../catalog/types.js';

const freshMs = 5_000;

export class Probes {
  readonly #pool: Pool;
  #loaded: Promise<ReadonlyMap<string, ProbeDefinition>> | undefined;
  #atMs = 0;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** By name; `enabled`, interval and retention as configured for the whole PEM. */
  all(): Promise<ReadonlyMap<string, ProbeDefinition>> {
    const now = performance.now();
    if (this.#loaded === undefined || now - this.#atMs > freshMs) {
      const loading = this.#load();
      this.#loaded = loading;
      this.#atMs = now;
      loading.catch(() => {
        if (this.#loaded === loading) this.#loaded = undefined;
      });
    }
    return this.#loaded;
  }

  async find(name: string): Promise<ProbeDefinition | undefined> {
    return (await this.all()).get(name);
  }

  async #load(): Promise<ReadonlyMap<string, ProbeDefinition>> {
    const { rows } = await this.#pool.query<{
      definition: ProbeDefinition;
      name: string;
      interval_ms: number;
      retention_days: number;
      enabled: boolean;
    }>(
      'SELECT name, definition, interval_ms, retention_days, enabled FROM pem.probe WHERE NOT retired ORDER BY name',
    );
    return new Map(
      rows.map((row) => [
        row.name,
        {
          ...row.definition,
          name: row.name,
          intervalMs: row.interval_ms,
          retentionDays: row.retention_days,
          enabled: row.enabled,
        },
      ]),
    );
  }
}
