// Writing an artifact: a stored zip, records at multiples of 64 bytes, their SHA-256 in the manifest.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ft_file.hpp"

namespace ft {

// SHA-256 (FIPS 180-4) in hexadecimal.
inline std::string sha256(const std::string& data) {
  static const uint32_t k[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
      0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
      0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
      0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
      0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
      0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
      0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
      0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
      0xc67178f2};
  std::array<uint32_t, 8> h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  auto turn = [](uint32_t x, int n) { return (x >> n) | (x << (32 - n)); };
  auto block = [&](const unsigned char* p) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++)
      w[i] = uint32_t(p[4 * i]) << 24 | uint32_t(p[4 * i + 1]) << 16 | uint32_t(p[4 * i + 2]) << 8 |
             uint32_t(p[4 * i + 3]);
    for (int i = 16; i < 64; i++) {
      uint32_t a = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ (w[i - 15] >> 3);
      uint32_t b = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ (w[i - 2] >> 10);
      w[i] = w[i - 16] + a + w[i - 7] + b;
    }
    std::array<uint32_t, 8> s = h;
    for (int i = 0; i < 64; i++) {
      uint32_t e = turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25);
      uint32_t one = s[7] + e + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
      uint32_t a = turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22);
      uint32_t two = a + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
      s = {one + two, s[0], s[1], s[2], s[3] + one, s[4], s[5], s[6]};
    }
    for (int i = 0; i < 8; i++) h[i] += s[i];
  };
  auto bytes = reinterpret_cast<const unsigned char*>(data.data());
  size_t whole = data.size() / 64 * 64;
  for (size_t at = 0; at < whole; at += 64) block(bytes + at);
  std::string rest = data.substr(whole) + '\x80';
  rest.resize((rest.size() + 8 + 63) / 64 * 64, '\0');
  for (int i = 0; i < 8; i++)
    rest[rest.size() - 1 - i] = char(uint64_t(data.size()) * 8 >> (8 * i));
  for (size_t at = 0; at < rest.size(); at += 64)
    block(reinterpret_cast<const unsigned char*>(rest.data()) + at);
  std::string made;
  for (uint32_t word : h) {
    char digits[9];
    std::snprintf(digits, sizeof digits, "%08x", word);
    made += digits;
  }
  return made;
}

class ZipWriter {
 public:
  static void write(const std::string& path, const Records& records) {
    std::string part = path + ".part";  // the file takes its name only once it is complete
    std::ofstream out(part, std::ios::binary);
    std::string directory;
    size_t at = 0;
    for (const auto& [name, data] : records) {
      size_t padding = (64 - (at + 30 + name.size() + 4) % 64) % 64;
      if (at + data.size() > 0xFFFFFF00u)
        throw std::runtime_error("files beyond 4 GB are not written here");
      std::string common = header(name, data, 4 + padding);
      std::string local =
          number(0x04034b50, 4) + number(20, 2) + common + name + "FB" + number(padding, 2);
      local += std::string(padding, '\0');
      directory += number(0x02014b50, 4) + number(20, 2) + number(20, 2) + header(name, data, 0) +
                   std::string(10, '\0') + number(at, 4) + name;
      out << local << data;
      at += local.size() + data.size();
    }
    out << directory << number(0x06054b50, 4) << number(0, 4) << number(records.size(), 2)
        << number(records.size(), 2) << number(directory.size(), 4) << number(at, 4)
        << number(0, 2);
    out.close();
    if (!out || std::rename(part.c_str(), path.c_str()) != 0)
      throw std::runtime_error(path + ": cannot be written");
  }

 private:
  static std::string number(uint64_t value, int bytes) {
    std::string made;
    for (int i = 0; i < bytes; i++) made += static_cast<char>(value >> (8 * i));
    return made;
  }

  // What a local and a directory entry have in common: stored, dated 1980.
  static std::string header(const std::string& name, const std::string& data, size_t extra) {
    return number(0, 2) + number(0, 2) + number(0, 2) + number(0x21, 2) +
           number(crc32(data.data(), data.size()), 4) + number(data.size(), 4) +
           number(data.size(), 4) + number(name.size(), 2) + number(extra, 2);
  }
};

// The arrays as a safetensors file; the data begins at a multiple of 64 bytes.
struct StoredArray {
  std::string dtype;  // as safetensors says it
  std::vector<int64_t> shape;
  std::string bytes;
};

inline std::string safetensors(const std::map<std::string, StoredArray>& arrays) {
  Json header = Json::object();
  std::string body;
  for (const auto& [name, array] : arrays) {
    std::vector<double> span = {double(body.size()), double(body.size() + array.bytes.size())};
    header.set(name, Json::object({{"dtype", array.dtype},
                                   {"shape", Json::list(array.shape)},
                                   {"data_offsets", Json::list(span)}}));
    body += array.bytes;
  }
  std::string text = header.dump();
  text.append((64 - (text.size() + 8) % 64) % 64, ' ');
  uint64_t size = text.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + text + body;
}

}  // namespace ft
