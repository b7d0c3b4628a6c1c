import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomRows, file as traceFile } from './csv_model.js';
import { type TraceAdded, type TraceResult, TraceScan, type TraceSource } from './index.js';
import { random } from './model.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pem-trace-scan-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function scan(source: TraceSource): Promise<{ added: TraceAdded; result: TraceResult }> {
  const trace = new TraceScan();
  return { added: await trace.add(source), result: await trace.result(20) };
}

describe('TraceScan', () => {
  it.each([
    // A quoted name may hold a line feed: the header is more than its first line then.
    [
      'names in quotes',
      Buffer.from('"trace",line,"exec\nus",exec_us,query\n1,1,,5,select 1\n1,2,,7,"a\nb"\n'),
    ],
    [
      'damaged rows',
      Buffer.from('trace,line,query\r\n1,1,a\r\n1,2\r\n1,3,"b"c\r\n1,4,"d\n5,e"\r\nx,5,f\r\n1,6,g\r\n'),
    ],
    ['any rows', traceFile(randomRows(3, 0.3, random(43)))],
  ])('finds the same in a file and its ring, wherever they meet: %s', async (_name, bytes) => {
    const path = join(folder, 'slot_0.1.v1.csv');
    writeFileSync(path, bytes);
    for (const complete of [false, true]) {
      const whole = await scan({ file: 1, tail: bytes, complete });
      // Every place in short files, and every few bytes of long ones.
      for (let to = 0; to <= bytes.length; to += bytes.length < 200 ? 1 : 17)
        expect(await scan({ file: 1, path, to, tail: bytes.subarray(to), complete })).toEqual(whole);
    }
  });
});
