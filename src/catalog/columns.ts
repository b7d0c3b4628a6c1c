/**
 * Short forms to write a probe's columns with. Pure.
 */
import type { ColumnType, ProbeColumn } from '../wire/config.js';

/** A column that identifies a row of a target. */
export function key(name: string, type: ColumnType, title: string): ProbeColumn {
  return { name, type, role: 'key', kind: 'label', unit: '', title };
}

/** A value that is not a quantity: a name, a state, a time, a flag. */
export function label(name: string, type: ColumnType, title: string): ProbeColumn {
  return { name, type, role: 'metric', kind: 'label', unit: '', title };
}

/** A quantity that moves freely. */
export function gauge(name: string, type: ColumnType, unit: string, title: string): ProbeColumn {
  return { name, type, role: 'metric', kind: 'gauge', unit, title };
}

/** A quantity that only grows until it is reset. */
export function counter(name: string, type: ColumnType, unit: string, title: string): ProbeColumn {
  return { name, type, role: 'metric', kind: 'counter', unit, title };
}
