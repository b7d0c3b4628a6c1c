// libFuzzer target: bytes as an SQL text. The first byte says whether it is cut. Space and comments around it change nothing,
// valid UTF-8 gives valid UTF-8, the cache says what was computed, and what is kept is the beginning of the form.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "../core/fingerprint.h"
#include "../core/hash64.h"
#include "../core/utf8.h"

static void require(bool what) {
  if (!what) std::abort();
}

// The form of a copy that ends with its allocation.
static fpr_result normalise(fpr_work *work, const std::string &sql, bool cut) {
  std::unique_ptr<char[]> copy(new char[sql.size()]);
  if (!sql.empty()) std::memcpy(copy.get(), sql.data(), sql.size());
  fpr_result result;
  fpr_normalise(work, copy.get(), sql.size(), cut, &result);
  require(result.fingerprint != 0 && result.kept_bytes <= result.text_bytes && result.kept_bytes <= FPR_TEXT_BYTES);
  require(work->last.fingerprint == result.fingerprint && work->last.kept_bytes == result.kept_bytes);
  return result;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  static const std::unique_ptr<fpr_work> work(new fpr_work);
  const bool cut = (data[0] & 1) != 0;
  const std::string sql(reinterpret_cast<const char *>(data) + 1, size - 1);
  const fpr_result first = normalise(work.get(), sql, cut);
  const std::string form(reinterpret_cast<const char *>(work->bytes), first.kept_bytes);
  const auto *bytes = reinterpret_cast<const uint8_t *>(sql.data());
  if (col_utf8_prefix(bytes, sql.size()) == sql.size())
    require(col_utf8_prefix(work->bytes, first.kept_bytes) == first.kept_bytes);
  if (!cut && first.kept_bytes == first.text_bytes) {
    const uint64_t hash = h64(form.data(), form.size(), FPR_RULES_VERSION);
    require(first.fingerprint == (hash == 0 ? 1 : hash));
  }

  require(normalise(work.get(), " /* a /* b */ */ -- c\n" + sql, cut).fingerprint == first.fingerprint);
  if (!cut && (first.flags & FPR_UNTERMINATED) == 0 && sql.find("--") == std::string::npos)
    require(normalise(work.get(), sql + " \n\t/* d */;; ", cut).fingerprint == first.fingerprint);

  static std::vector<uint64_t> memory(fpr_cache_bytes(4) / 8 + 8);
  static fpr_cache *const cache = fpr_cache_open(
      reinterpret_cast<void *>((reinterpret_cast<uintptr_t>(memory.data()) + 63) & ~uintptr_t{63}), 4);
  int known = 0;
  require(fpr_cached(cache, work.get(), sql.data(), sql.size(), cut, &known) == first.fingerprint);
  require(fpr_cached(cache, work.get(), sql.data(), sql.size(), cut, &known) == first.fingerprint && known);
  return 0;
}
