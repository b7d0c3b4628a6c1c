/**
 * Distinct plans among calls of a statement. In: calls with the plans that their trace kept, as text or JSON. Out: one entry for
 * each shape: nodes, tables, indexes and conditions, whatever costs and values were. Pure.
 */
import type { Call } from './trace.js';

export interface PlanSeen {
  /** What two calls with this plan have in common. */
  readonly shape: string;
  /** Its nodes from the top, in one line. */
  readonly outline: string;
  readonly calls: number;
  readonly firstUs: number;
  readonly lastUs: number;
  readonly minUs: number;
  readonly meanUs: number;
  readonly maxUs: number;
  /** As the slowest of these calls had it. */
  readonly text: string;
  /** Only its beginning is there. */
  readonly cut: boolean;
}

const planCut = 4;
/** Two cut plans with the same beginning are taken for one. */
const mostShapeChars = 20_000;
const mostNodes = 4;

const valueWords = String.raw`'(?:[^']|'')*'|(?<![\w.$])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])`;
const values = new RegExp(valueWords, 'gi');
const valuesAndNames = new RegExp(`"(?:[^"]|"")*"|${valueWords}`, 'gi');
/** Names in quotes stay, values go. */
const withoutValues = (text: string): string =>
  text.replaceAll(valuesAndNames, (found) => (found.startsWith('"') ? found : '?'));

/** Figures that are part of a plan's shape; the others are estimates. */
const shapeFigures = new Set(['Workers Planned']);

function jsonShape(value: unknown, name = ''): unknown {
  if (Array.isArray(value)) return value.map((each) => jsonShape(each, name));
  if (typeof value === 'string') return withoutValues(value);
  if (typeof value === 'number') return shapeFigures.has(name) ? value : 0;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, jsonShape(each, key)]));
}

interface JsonNode {
  readonly 'Node Type'?: unknown;
  readonly 'Relation Name'?: unknown;
  readonly 'Index Name'?: unknown;
  readonly Plans?: readonly JsonNode[];
}

function jsonNodes(node: JsonNode | undefined): string[] {
  if (node === undefined || node === null || typeof node['Node Type'] !== 'string') return [];
  const index = typeof node['Index Name'] === 'string' ? ` using ${node['Index Name']}` : '';
  const relation = typeof node['Relation Name'] === 'string' ? ` on ${node['Relation Name']}` : '';
  return [`${node['Node Type']}${index}${relation}`, ...(node.Plans ?? []).flatMap(jsonNodes)];
}

const estimates = /\s+\((?:cost|actual|never)[^)]*\)/g;

/** Of a plan as text: the line without an arrow, and those with one. */
function textNodes(text: string): string[] {
  return text
    .split('\n')
    .filter((line, at) => at === 0 || /^\s*->/.test(line))
    .map((line) => line.replace(/^\s*->\s*/, '').trim());
}

function read(plan: string): { shape: string; nodes: readonly string[] } {
  if (/^\s*[[{]/.test(plan)) {
    try {
      const parsed: unknown = JSON.parse(plan);
      const top = (Array.isArray(parsed) ? parsed[0] : parsed) as { Plan?: JsonNode } & JsonNode;
      return { shape: JSON.stringify(jsonShape(parsed)), nodes: jsonNodes(top?.Plan ?? top) };
    } catch {
      // Its end was cut.
      return { shape: plan.replaceAll(values, '?'), nodes: [] };
    }
  }
  const bare = plan.replaceAll(estimates, '');
  return { shape: withoutValues(bare), nodes: textNodes(bare) };
}

/** @returns those that took most time together first; calls without a plan are left out */
export function distinctPlans(calls: readonly Call[]): PlanSeen[] {
  const found = new Map<string, { seen: PlanSeen; sumUs: number }>();
  for (const call of calls) {
    const { plan, exec_us: execUs, end_time: endUs } = call;
    if (typeof plan !== 'string' || plan === '') continue;
    const { shape: whole, nodes } = read(plan);
    const shape = whole.slice(0, mostShapeChars);
    const us = Number(execUs ?? 0);
    const at = Number(endUs);
    const before = found.get(shape);
    const sumUs = (before?.sumUs ?? 0) + us;
    const count = (before?.seen.calls ?? 0) + 1;
    const isSlowest = before === undefined || us > before.seen.maxUs;
    const more = nodes.length - mostNodes;
    found.set(shape, {
      sumUs,
      seen: {
        shape,
        outline:
          nodes.length === 0
            ? 'plan'
            : `${nodes.slice(0, mostNodes).join(' › ')}${more > 0 ? ` › ${more} more` : ''}`,
        calls: count,
        firstUs: Math.min(before?.seen.firstUs ?? at, at),
        lastUs: Math.max(before?.seen.lastUs ?? at, at),
        minUs: Math.min(before?.seen.minUs ?? us, us),
        meanUs: sumUs / count,
        maxUs: Math.max(before?.seen.maxUs ?? us, us),
        text: isSlowest ? plan : before.seen.text,
        cut: isSlowest ? (Number(call.flags ?? 0) & planCut) !== 0 : before.seen.cut,
      },
    });
  }
  return [...found.values()].sort((a, b) => b.sumUs - a.sumUs).map(({ seen }) => seen);
}
