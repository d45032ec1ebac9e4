// An artifact's records: of a file (a stored zip, checked record by record), or made by this
// program.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ft_json.hpp"

namespace ft {

// CRC-32 as zip files have it, eight bytes at a time: table[k] is for a byte that k more follow.
inline uint32_t crc32(const char* data, size_t size) {
  static const std::vector<uint32_t> table = [] {
    std::vector<uint32_t> made(8 * 256);
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t c = i;
      for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
      made[i] = c;
    }
    for (size_t i = 256; i < made.size(); i++)
      made[i] = made[made[i - 256] & 0xFF] ^ (made[i - 256] >> 8);
    return made;
  }();
  const uint32_t* t = table.data();
  auto p = reinterpret_cast<const uint8_t*>(data);
  uint32_t c = 0xFFFFFFFFu;
  for (; size >= 8; size -= 8, p += 8) {
    uint32_t low =
        c ^ (uint32_t(p[0]) | uint32_t(p[1]) << 8 | uint32_t(p[2]) << 16 | uint32_t(p[3]) << 24);
    c = t[7 * 256 + (low & 0xFF)] ^ t[6 * 256 + (low >> 8 & 0xFF)] ^
        t[5 * 256 + (low >> 16 & 0xFF)] ^ t[4 * 256 + (low >> 24)] ^ t[3 * 256 + p[4]] ^
        t[2 * 256 + p[5]] ^ t[256 + p[6]] ^ t[p[7]];
  }
  for (; size; size--, p++) c = t[(c ^ *p) & 0xFF] ^ (c >> 8);
  return c ^ 0xFFFFFFFFu;
}

// Bytes within the file's memory.
struct Slice {
  const char* data = nullptr;
  size_t size = 0;
};

using Records = std::vector<std::pair<std::string, std::string>>;

struct Weight {
  std::string dtype;  // as the format says it: F32, I64, ...
  std::vector<int64_t> shape;
  Slice bytes;
};

class File {
 public:
  // Records that were made here, as if they had been read.
  explicit File(Records records) : path_("the artifact"), made_(std::move(records)) {
    for (const auto& [name, data] : made_)
      entries_[name] = {{data.data(), data.size()}, crc32(data.data(), data.size())};
    open();
  }

  explicit File(const std::string& path) : path_(path) {
    std::ifstream in(path, std::ios::binary | std::ios::ate);
    if (!in) throw std::runtime_error(path + ": cannot be opened");
    memory_.resize(static_cast<size_t>(in.tellg()));
    in.seekg(0);
    in.read(memory_.data(), static_cast<std::streamsize>(memory_.size()));
    directory();
    open();
  }

  File(const File&) = delete;

  std::vector<std::string> names() const {
    std::vector<std::string> made;
    for (const auto& entry : entries_) made.push_back(entry.first);
    return made;
  }

  std::string text(const std::string& name) const {
    Slice found = record(name);
    return std::string(found.data, found.size);
  }

  bool has(const std::string& name) const { return entries_.count(name) != 0; }

  Slice record(const std::string& name) const {
    auto found = entries_.find(name);
    if (found == entries_.end()) fail("it lacks " + name);
    const Entry& e = found->second;
    if (crc32(e.slice.data, e.slice.size) != e.crc) fail(name + " is damaged");
    return e.slice;
  }

  Json manifest;
  std::map<std::string, Weight> arrays;

 private:
  struct Entry {
    Slice slice;
    uint32_t crc;
  };

  [[noreturn]] void fail(const std::string& words) const {
    throw std::runtime_error(path_ + ": " + words);
  }

  template <class T>
  T at(size_t where) const {
    if (where + sizeof(T) > memory_.size()) fail("it is cut short");
    T made;
    std::memcpy(&made, memory_.data() + where, sizeof(T));
    return made;
  }

  void open() {
    manifest = Json::parse(text("manifest.json"));
    if (manifest["format"].text != "funtorch-artifact") fail("it is no artifact");
    if (manifest["version"].number > 2)
      fail("its format is newer than this program; written by " + manifest["writer"].text);
    weights();
  }

  void directory() {
    if (memory_.size() < 22) fail("it is no artifact");
    size_t end = memory_.size() - 22;
    while (at<uint32_t>(end) != 0x06054b50u)
      if (end-- == 0) fail("it is no artifact, or it is cut short");
    size_t count = at<uint16_t>(end + 10), where = at<uint32_t>(end + 16);
    if (where == 0xFFFFFFFFu) fail("files beyond 4 GB are not read here");
    for (size_t i = 0; i < count; i++) {
      if (at<uint32_t>(where) != 0x02014b50u) fail("its directory is damaged");
      if (at<uint16_t>(where + 10) != 0) fail("it is compressed; artifacts are stored");
      size_t size = at<uint32_t>(where + 24), name = at<uint16_t>(where + 28);
      size_t local = at<uint32_t>(where + 42);
      size_t start = local + 30 + at<uint16_t>(local + 26) + at<uint16_t>(local + 28);
      if (start + size > memory_.size()) fail("it is cut short");
      Slice slice{memory_.data() + start, size};
      entries_[std::string(memory_.data() + where + 46, name)] = {slice, at<uint32_t>(where + 16)};
      where += 46 + name + at<uint16_t>(where + 30) + at<uint16_t>(where + 32);
    }
  }

  void weights() {
    Slice all = record("weights.safetensors");
    uint64_t header = 0;
    if (all.size < 8) fail("the weights are cut short");
    std::memcpy(&header, all.data, 8);
    if (header > all.size - 8) fail("the weights are cut short");
    Json names = Json::parse(std::string(all.data + 8, header));
    for (const auto& field : names.fields) {
      if (field.first == "__metadata__") continue;
      Weight made;
      made.dtype = field.second["dtype"].text;
      for (const Json& n : field.second["shape"].items)
        made.shape.push_back(static_cast<int64_t>(n.number));
      auto first = static_cast<size_t>(field.second["data_offsets"].items.at(0).number);
      auto last = static_cast<size_t>(field.second["data_offsets"].items.at(1).number);
      if (first > last || last > all.size - 8 - header) fail("the weights are damaged");
      made.bytes = {all.data + 8 + header + first, last - first};
      arrays[field.first] = made;
    }
  }

  std::string path_;
  std::vector<char> memory_;
  Records made_;
  std::map<std::string, Entry> entries_;
};

}  // namespace ft
