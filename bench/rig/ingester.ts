/** An ingester as a process of its own, for tests that kill it: `node dist/bench/rig/ingester.js NAME` with PEM_RIG_DB. */
import { parseConninfo } from '../../src/base/conninfo.js';
import { openLog } from '../../src/base/log.js';
import { runIngester } from '../../src/ingest/main.js';

const ingester = runIngester({
  db: parseConninfo(process.env.PEM_RIG_DB ?? ''),
  name: process.argv[2] ?? 'rig',
  log: openLog('ingest'),
});
process.once('SIGTERM', () => {
  ingester.stop().then(
    () => process.exit(0),
    () => process.exit(1),
  );
});
