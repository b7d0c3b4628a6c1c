/**
 * From measured rows to blocks on their way. In: the full block of one (target, probe, scope). Out: what has to travel,
 * put into the outbox. Owns the memory of delta probes (hashes, not rows).
 *
 * 1. A delta probe sends a full block first after start, after any loss, after a change of its definition, and once a
 *    day; in between only rows that changed and tombstones.
 * 2. The memory moves on only when the block is handed over; a probe that fails leaves it as it was.
 * 3. A scope that is gone ends with an empty full block: its rows are gone.
 */
import { type BlockMeta, blockFromRows, type ColumnSpec, DeltaState } from '../../native/index.js';
import type { ProbeRuntime } from '../../src/wire/config.js';
import type { Outbox } from '../outbox.js';
import type { Clock } from '../scheduler/clock.js';
import type { RunContext } from '../scheduler/timetable.js';
import type { KnownScopes } from './scopes.js';
import { maxBlockBytes, splitBlock } from './split.js';

const fullEveryMs = 24 * 3600 * 1000;

interface Memory {
  readonly state: DeltaState | null;
  readonly shape: string;
  fullAtMs: number;
  /** A loss happened: the next block must be full. */
  full: boolean;
}

/** Columns as the codec wants them. */
export function columnSpecs(probe: ProbeRuntime): ColumnSpec[] {
  return probe.columns.map(({ name, type }) => ({ name, type }));
}

export function blockMeta(
  targetId: number,
  probe: ProbeRuntime,
  context: RunContext,
  scope?: string,
): BlockMeta {
  return {
    target: BigInt(targetId),
    probe: probe.name,
    probeVersion: probe.version,
    kind: probe.mode === 'append' ? 'append' : 'full',
    ...(scope === undefined ? {} : { scope }),
    recordedAtUs: context.recordedAtUs,
    intervalUs: context.intervalUs,
  };
}

export class Emitter {
  private readonly memories = new Map<string, Memory>();
  private readonly forgetLoss: () => void;

  constructor(
    private readonly outbox: Outbox,
    private readonly clock: Clock,
    private readonly scopes: KnownScopes,
  ) {
    this.forgetLoss = outbox.onLoss(() => {
      for (const memory of this.memories.values()) memory.full = true;
      this.scopes.lost();
    });
  }

  /** Hands on what of a full block has to travel; the bytes that do. */
  async emit(probe: ProbeRuntime, meta: BlockMeta, block: Buffer): Promise<number> {
    let blocks = [block];
    if (probe.mode !== 'append') {
      const memory = this.memoryOf(probe, meta);
      if (memory.state !== null) {
        const now = this.clock.monotonicMs();
        let forceFull = memory.full || now - memory.fullAtMs >= fullEveryMs;
        let out = memory.state.diff(block, { forceFull });
        // A delta too large for a batch: the full block can be cut, a delta with tombstones cannot.
        if (!forceFull && out !== null && out !== block && out.length > maxBlockBytes) {
          forceFull = true;
          out = block;
        }
        if (out === null) return 0;
        if (forceFull) {
          memory.full = false;
          memory.fullAtMs = now;
        }
        blocks = [out];
      }
    }
    const [only] = blocks;
    if (only !== undefined && only.length > maxBlockBytes)
      blocks = await splitBlock(only, meta, columnSpecs(probe));
    this.outbox.put(blocks);
    return blocks.reduce((sum, each) => sum + each.length, 0);
  }

  /** These scopes of a probe exist now: says of those that went that they are empty. */
  dropMissing(probe: ProbeRuntime, targetId: number, present: readonly string[], context: RunContext): void {
    for (const scope of this.scopes.update(targetId, probe.name, present)) {
      this.memories.delete(nameOf(targetId, probe.name, scope));
      this.outbox.put([blockFromRows(blockMeta(targetId, probe, context, scope), columnSpecs(probe), [])]);
    }
  }

  /** Begins anew with a target, which may be another server now: full blocks first; what went is still known. */
  restart(targetId: number): void {
    for (const name of this.memories.keys())
      if (name.startsWith(nameOf(targetId, ''))) this.memories.delete(name);
  }

  /** Forgets a target that is no longer monitored. */
  forget(targetId: number): void {
    this.restart(targetId);
    this.scopes.forget(targetId);
  }

  stop(): void {
    this.forgetLoss();
    this.memories.clear();
  }

  private memoryOf(probe: ProbeRuntime, meta: BlockMeta): Memory {
    const name = nameOf(meta.target, probe.name, meta.scope ?? '');
    const shape = JSON.stringify([probe.version, probe.mode, columnSpecs(probe)]);
    const known = this.memories.get(name);
    if (known !== undefined && known.shape === shape) return known;
    const keys = probe.columns.flatMap((column, index) => (column.role === 'key' ? [index] : []));
    const memory: Memory = {
      state: probe.mode === 'delta' ? new DeltaState(columnSpecs(probe), keys) : null,
      shape,
      fullAtMs: this.clock.monotonicMs(),
      full: true,
    };
    this.memories.set(name, memory);
    return memory;
  }
}

/** Without probe and scope: what all names of a target begin with. */
function nameOf(targetId: number | bigint, ...rest: readonly string[]): string {
  return [targetId, ...rest].join('\0');
}
