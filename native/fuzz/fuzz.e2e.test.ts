import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { columnTypes } from '../../src/wire/config.js';
import { encodeBatch, pgcopyToBlock } from '../codec.js';
import { pgbenchFile, file as traceFile, randomRows as traceRows } from '../csv_model.js';
import { allColumns, meta, random, randomRows, stream } from '../model.js';
import { clang, coreSources, native, run, sanitize, workFolder } from '../sanitize.js';

// Bounded runs of the fuzz targets; PEM_FUZZ_SECONDS makes them longer.
const seconds = Number(process.env.PEM_FUZZ_SECONDS ?? 10);

let work: string;
beforeAll(() => {
  work = workFolder();
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** The addon's sources that need neither Node nor a server's library. */
const addonSources = readdirSync(join(native, 'addon'))
  .filter((name) => name.endsWith('.cc') && !/^(addon|codec|pg)|_edge\./.test(name))
  .map((name) => join(native, 'addon', name));

const wide = allColumns.length;
/** Bytes before the stream: columns, size of pieces, value limit (see fuzz_build.cc). */
const chosen = (piece: number, limit: number) =>
  Buffer.from([wide - 1, piece, limit, ...columnTypes.map((_, i) => i)]);

/** Trace files behind the bytes that choose how they are read (see fuzz_csv.cc). */
function csvSeeds(): Buffer[] {
  const next = random(29);
  const odd =
    'line,exec_us,encoding,flags,query\r\n1,,LATIN1,,"a""\xe9"\n2,x,UTF8,0,a"b\n"3",4,EUC_JP,,"\xa4,\n"\n5\n6,"';
  const several =
    'line,encoding,query\n1,EUC_JP,\xa4\xa2\x8e\xb6\x8f\xa2\xaf\x85\n2,EUC_JIS_2004,\xa4\xab\xa4\xf7a\xa4\n3,EUC_TW,\x8e\xa2\xa1\xa1\x8e\n4,EUC_KR,\xb0\xa1\n5,EUC_CN,\xb0\n';
  const files = [
    traceFile(traceRows(20, 0.3, next)),
    pgbenchFile(20, next),
    Buffer.from(odd, 'latin1'),
    Buffer.from(several, 'latin1'),
  ];
  const ways = [
    [0, 1, 0, 255, 15, 0],
    [0, 0, 1, 37, 3, 2],
    [3, 4, 1, 7, 1, 6],
    [0, 1, 200, 90, 15, 1],
  ];
  return files.flatMap((file) => ways.map((way) => Buffer.concat([Buffer.from(way), file])));
}

/** Any bytes will do as fields; these have what must be quoted in many places (see fuzz_csv_trip.cc). */
function tripSeeds(): Buffer[] {
  const next = random(31);
  const kinds = Buffer.from('",\r\n"",a\0\xff\x02\x07\xfe', 'latin1');
  return [1, 5, 56].flatMap((columns) =>
    [20, 400, 4000].map((size) =>
      Buffer.from([
        columns - 1,
        ...Array.from({ length: size }, () => kinds[Math.floor(next() * kinds.length)]!),
      ]),
    ),
  );
}

/** Behind the bytes that choose the sizes of the aggregates (see fuzz_aggregate.cc). */
function aggregateSeeds(): Buffer[] {
  const next = random(37);
  const files = [traceFile(traceRows(60, 0.3, next)), pgbenchFile(300, next)];
  const sizes = [
    [0x23, 40, 90, 9],
    [0xff, 255, 255, 6],
    [0x10, 2, 17, 0],
  ];
  return files.flatMap((file) => sizes.map((size) => Buffer.concat([Buffer.from(size), file])));
}

/** Behind the bytes that choose filter, size of reads and where the ring begins (see fuzz_trace.cc). */
function traceSeeds(): Buffer[] {
  const next = random(41);
  // Names in quotes, one with a line feed; few columns, so that more is tried in the same time, and numbers at both ends.
  const names = '"trace",line,"exec\nus",exec_us,query\n1,1,,5,select 1\n1,2,,7,"a\nb"\n';
  const few = [
    'line,end_time,exec_us,sqlstate,error,flags,query',
    '-9223372036854775808,1790000000000000,5,23505,"a ""b""",32,',
    '9223372036854775807,,9223372036854775807,,,,select 2',
    ...['2,x', '3,-9223372036854775808,-1,"",,,"c\r\nd"\r\n'],
  ].join('\r\n');
  const files = [
    traceFile(traceRows(40, 0.3, next)),
    pgbenchFile(60, next),
    ...[names, few].map((text) => Buffer.from(text)),
  ];
  const ways = [
    [0, 255, 128],
    [0x15, 0, 0],
    [0x4a, 90, 255],
    [0x80, 3, 200],
  ];
  return files.flatMap((file) => ways.map((way) => Buffer.concat([Buffer.from(way), file])));
}

/** Behind the byte that says whether the text is cut (see fuzz_fingerprint.cc). */
function fingerprintSeeds(): Buffer[] {
  const texts = [
    `select a.b, "C" from t where x = 'it''s' and y in (-1, 0x1F, $2) and z = E'\\n' || U&'\\0061' uescape '!'`,
    `insert into t values (1, $$ a $$), (2, $b$ c $b$) on conflict do nothing; savepoint s`,
    `do $$ begin perform array[[1, 2], [3, 4]]; -- x\n end $$ /* /* */ */`,
    `update t set a = null, b = not true where c is not null and d::int8 <> -5::int -- end`,
    `select 1..10, .5e-3, a ->> 'b', a @-1, a[1:2], (b).c`,
  ];
  return texts.flatMap((text) => [0, 1].map((cut) => Buffer.concat([Buffer.from([cut]), Buffer.from(text)])));
}

async function seeds(target: string): Promise<Buffer[]> {
  if (target === 'fuzz_aggregate') return aggregateSeeds();
  if (target === 'fuzz_trace') return traceSeeds();
  if (target === 'fuzz_fingerprint') return fingerprintSeeds();
  if (target === 'fuzz_csv') return csvSeeds();
  if (target === 'fuzz_csv_trip') return tripSeeds();
  const next = random(23);
  const out: Buffer[] = [];
  for (const count of [0, 1, 3, 70, 300]) {
    const bytes = stream(randomRows(allColumns, count, count % 2 === 0 ? 0.2 : 0, next));
    if (target === 'fuzz_build') {
      out.push(Buffer.concat([chosen(255, 0), bytes]), Buffer.concat([chosen(6, 9), bytes]));
    } else {
      const { block } = await pgcopyToBlock(meta, allColumns, bytes);
      const envelope = { agentId: 1, boot: '00000000-0000-4000-8000-000000000001', seq: 1n, createdAtUs: 0n };
      out.push(block, encodeBatch(envelope, [block, block]));
    }
  }
  return out;
}

describe.skipIf(clang === undefined)('fuzzing', () => {
  const targets = [
    ...['fuzz_verify', 'fuzz_build', 'fuzz_csv', 'fuzz_csv_trip'],
    ...['fuzz_fingerprint', 'fuzz_aggregate', 'fuzz_trace'],
  ];
  for (const target of targets) {
    it(`${target} finds nothing`, { timeout: 900_000 + 1000 * seconds }, async () => {
      const objects = coreSources.map((file) => {
        const object = `${target}_${basename(file)}.o`;
        run(work, clang!, ['-std=c11', '-c', ...sanitize, '-fsanitize=fuzzer-no-link', '-o', object, file]);
        return object;
      });
      run(work, clang!.replace('clang', 'clang++'), [
        ...['-std=c++17', '-fno-exceptions', ...sanitize, '-fsanitize=fuzzer', '-o', target],
        join(native, 'fuzz', `${target}.cc`),
        ...addonSources,
        ...objects,
      ]);
      mkdirSync(join(work, `${target}_corpus`));
      for (const [i, seed] of (await seeds(target)).entries())
        writeFileSync(join(work, `${target}_corpus`, `seed${i}`), seed);
      run(work, join(work, target), [
        ...[
          `${target}_corpus`,
          `-max_total_time=${seconds}`,
          '-max_len=65536',
          '-rss_limit_mb=2048',
          '-timeout=20',
        ],
        ...['-print_final_stats=0', '-verbosity=0'],
      ]);
      expect(readdirSync(work).filter((name) => /^(crash|leak|oom|timeout)-/.test(name))).toEqual([]);
    });
  }
});
