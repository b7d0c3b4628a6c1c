// The edge between JavaScript and the readers of trace files: pieces and options in, faults out. Used by csv_edge.cc and by
// whatever else is fed with pieces of CSV.
//
// Functions that read an argument throw a JavaScript Error with code codec_argument and answer false when it is not of its
// form. Pieces stay JavaScript's: `keep` holds them until the job's end.
#pragma once

#include <napi.h>

#include "batch.h"
#include "csv_window.h"

namespace pem {

// A piece of one trace file, which begins with a row, or with the header line where `header` is empty.
struct CsvPiece {
  Piece bytes, header;
  uint64_t from_bytes;
  bool end;
};

// What is wrong with a trace file, and where: piece and place in its file, bytes.
struct CsvFault {
  CodecError error;
  uint64_t offset = 0;
  uint32_t piece = 0;
};

// [{bytes, header?, fromBytes?, end?}] -> pieces.
bool ReadCsvPieces(Napi::Value value, std::vector<CsvPiece> *pieces, Napi::Array *keep);
// {columns?, keyColumns?, maxTextBytes?, skipBadRows?} -> options; no columns: all.
bool ReadCsvOptions(Napi::Object object, CsvReadOptions *options);
// {code, message, offset, piece}
Napi::Object ToCsvFault(Napi::Env env, const CsvFault &fault);

void InitCsv(Napi::Env env, Napi::Object exports);

}  // namespace pem
