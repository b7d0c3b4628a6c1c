/**
 * The one door to native code. Arguments are checked here or at the addon's own edge; every error has a code.
 */
export {
  type BatchEnvelope,
  type BatchInfo,
  type BlockInfo,
  type BlockKind,
  type BlockMeta,
  type BlockResult,
  blockFromRows,
  blockInfo,
  blocksToPgcopy,
  type CellValue,
  type CodecErrorCode,
  type ColumnSpec,
  crc32c,
  DeltaState,
  encodeBatch,
  type PrefixColumn,
  pgcopyToBlock,
  releaseStream,
  verifyBatches,
} from './codec.js';
export {
  type CsvColumn,
  CsvError,
  type CsvFault,
  type CsvOptions,
  type CsvPiece,
  type CsvResult,
  CsvTexts,
  csvColumns,
  csvFlags,
  csvHeader,
  csvToBlock,
} from './csv.js';
export {
  type ConnectOptions,
  type CopyBlockRequest,
  connect,
  type FieldDescription,
  PgConn,
  PgError,
  type QueryResult,
} from './pgconn.js';
