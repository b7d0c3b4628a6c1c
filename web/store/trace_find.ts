/**
 * A search in the texts of loaded calls as they ran: PEM has them, the page does not. In: the rows, typed words; out: the
 * calls found so far. It goes over the rows in parts of about the same number, newest words win: a search that is not wanted
 * any more ends with the part that is under way. States: idle → searching → done, full (more were found than a page keeps) or
 * failed.
 */
import { useEffect, useState } from 'preact/hooks';
import { messageOf, sendJson } from './api.js';
import { callNumber, type TraceRows } from './trace_rows.js';

/** As many rows as the server looks through in about a second. */
const partRows = 100_000;
/** As many as are found at most. */
export const mostFound = 200_000;
const restMs = 400;

export interface TextSearch {
  readonly state: 'idle' | 'searching' | 'done' | 'full' | 'failed';
  readonly found: ReadonlySet<number>;
  /** Rows that were looked through. */
  readonly done: number;
  readonly error: string;
}

const idle: TextSearch = { state: 'idle', found: new Set(), done: 0, error: '' };

/** Moments between which rows lie in parts of about `part` rows; the last one lies behind the last row. */
export function partEdges(rows: TraceRows, part: number): { us: number; row: number }[] {
  const edges: { us: number; row: number }[] = [];
  for (let row = 0; row < rows.count; row += part) {
    const us = rows.recordedUs(row);
    if (us > (edges.at(-1)?.us ?? -1)) edges.push({ us, row });
  }
  if (rows.count > 0) edges.push({ us: rows.recordedUs(rows.count - 1) + 1, row: rows.count });
  return edges;
}

/** @param text '' ends the search; rows that come later are looked through when `version` changes */
export function useTextSearch(
  trace: number,
  run: string,
  rows: TraceRows,
  version: number,
  text: string,
): TextSearch {
  const [search, setSearch] = useState(idle);
  useEffect(() => {
    if (text === '') {
      setSearch(idle);
      return;
    }
    let wanted = true;
    const go = async (): Promise<void> => {
      const found = new Set<number>();
      const tell = (state: TextSearch['state'], done: number, error = ''): void => {
        if (wanted) setSearch({ state, found: new Set(found), done, error });
      };
      const edges = partEdges(rows, partRows);
      let done = 0;
      tell('searching', 0);
      try {
        for (let part = 0; part + 1 < edges.length; part += 1) {
          const [from, to] = [edges[part], edges[part + 1]] as [(typeof edges)[0], (typeof edges)[0]];
          const answer = await sendJson<{ found: [number, number][]; truncated: boolean }>(
            'POST',
            `/traces/${trace}/find`,
            { run, text, afterUs: from.us, endUs: to.us },
          );
          if (!wanted) return;
          for (const [slot, line] of answer?.found ?? []) found.add(callNumber(slot, line));
          done = to.row;
          if (answer?.truncated === true || found.size >= mostFound) return tell('full', done);
          tell(part + 2 < edges.length ? 'searching' : 'done', done);
        }
        tell('done', done);
      } catch (error) {
        tell('failed', done, messageOf(error));
      }
    };
    const timer = setTimeout(() => void go(), restMs);
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [trace, run, rows, version, text]);
  return search;
}
