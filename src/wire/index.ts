/** The wire room's door: what agent, server and web all read. */
export {
  type BlockColumn,
  type BlockData,
  blockRows,
  bytesAt,
  type Cell,
  cellAt,
  columnOf,
  type FixedValues,
  isNull,
  numberAt,
  numbersOf,
  readBlock,
  textAt,
} from './block.js';
export * from './config.js';
export * from './events.js';
