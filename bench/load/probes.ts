/**
 * Probes for tests of the server's side: the smallest that have a key, with history by day; one sends full blocks, one
 * deltas, one deltas per scope.
 */
import { counter, key, label } from '../../src/catalog/columns.js';
import type { ProbeDefinition } from '../../src/catalog/types.js';

function rigProbe(name: string, more: Partial<ProbeDefinition>): ProbeDefinition {
  return {
    name,
    title: name,
    description: 'A probe of the test rig.',
    version: 1,
    level: 'host',
    collector: 'os',
    columns: [
      key('name', 'text', 'Key'),
      counter('value', 'int8', 'count', 'Value'),
      label('note', 'text', 'Note'),
    ],
    mode: 'full',
    history: true,
    intervalMs: 1000,
    retentionDays: 7,
    partition: 'day',
    ...more,
  };
}

export const rigFull = rigProbe('rig_full', {});
export const rigDelta = rigProbe('rig_delta', { mode: 'delta' });
export const rigScoped = rigProbe('rig_scoped', {
  mode: 'delta',
  scopeColumn: 'part',
  columns: [
    key('part', 'text', 'Part'),
    key('name', 'text', 'Key'),
    counter('value', 'int8', 'count', 'Value'),
    label('note', 'text', 'Note'),
  ],
});

export const rigProbes: readonly ProbeDefinition[] = [rigFull, rigDelta, rigScoped];
